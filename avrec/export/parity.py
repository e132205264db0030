"""Parity: do the exported graphs say what PyTorch says, on the model's own tables and media?

Axes: B users in the batch, N items, D width of the vectors.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from avrec.bundle.embedder import ItemEmbedder
from avrec.bundle.parts import PROGRAMS
from avrec.bundle.schema import ITEM_TOWER, USER_TOWER, Manifest
from avrec.bundle.session import OnnxGraph
from avrec.bundle.stand_in import StandIns
from avrec.core.arrays import Float32, Int64
from avrec.core.errors import require
from avrec.core.query import UserQuery
from avrec.export.calls import item_calls, many_items, user_calls, user_inputs
from avrec.export.graph_files import load_program, load_torchscript
from avrec.export.graphs import ItemTowerGraph, TowerGraph, UserTowerGraph
from avrec.export.sample import Arrays, ItemSample, spread
from avrec.export.tables import Tables

Runner = Callable[[Arrays], Arrays]

TOLERANCE = 1e-4
TIE = 1e-5
TOP_K = 20
NUM_USERS = 256
NUM_NEW_ITEMS = 256
DEFINITION = (
    "relative error: the largest |difference| of one output of one call, divided by the largest |reference| of that output, "
    "the worst over all calls; under `pytorch`, of the tower that is exported, run on a batch of the catalogue's items, raw "
    "media included, against their rows of the tables. A user's top 20 is equal when the candidate's item at each rank has a reference score within "
    "1e-5 * max(1, the user's largest |score|) of the reference's item at that rank; consumed items are left out. "
    "New items: cold items of the catalogue with content (of raw media, some), embedded from it as an upload would be, with "
    "the ONNX graph. One is equal when both its vectors are within the tolerance, relative to the largest |number| of the tables' "
    "rows. At least half must be: another rule for the stand-ins would move nearly all, a tie at the tenth neighbour a few."
)


@dataclass(frozen=True)
class ParityReport:
    """How far the exported graphs are from PyTorch.

    Attributes:
        relative_error: {backend: {"tower.output": worst relative error}}, and under `pytorch` that of the tables; see
            `definition`.
        equal_lists: {backend: users whose top list equals PyTorch's up to ties}.
        num_users: users whose lists were compared.
        num_calls: calls of the two towers that were compared.
        equal_new_items: cold items that embed from their content to what the tables hold.
        num_new_items: cold items that were embedded; 0 where none has content.
        versions: of the libraries.
        tolerance: for the relative errors.
        definition: what the numbers mean.
    """

    relative_error: Mapping[str, Mapping[str, float]]
    equal_lists: Mapping[str, int]
    num_users: int
    num_calls: int
    equal_new_items: int
    num_new_items: int
    versions: Mapping[str, str]
    tolerance: float = TOLERANCE
    definition: str = DEFINITION

    @property
    def worst(self) -> float:
        """The largest relative error of all."""
        return max(error for errors in self.relative_error.values() for error in errors.values())

    @property
    def passed(self) -> bool:
        """Every error is within the tolerance, every list is equal, and so are most new items."""
        lists = all(count == self.num_users for count in self.equal_lists.values())
        return self.worst <= self.tolerance and lists and 2 * self.equal_new_items >= self.num_new_items

    def to_json(self) -> dict[str, object]:
        """Plain data for `write_json`."""
        return {"format_version": 1, "passed": self.passed, **asdict(self)}


def check_parity(
    folder: Path, manifest: Manifest, item: ItemTowerGraph, user: UserTowerGraph, tables: Tables, sample: ItemSample
) -> ParityReport:
    """Compare the ONNX and TorchScript files of `folder`, and the programs if there are any, with the towers they came from.

    Args:
        folder: holds the files.
        manifest: of the bundle that they are to be part of.
        item: the item tower in PyTorch.
        user: the user tower in PyTorch.
        tables: real rows to compare on.
        sample: items with what the item tower takes of them.
    """
    max_items = user.tower.max_history_items
    graphs: dict[str, TowerGraph] = {ITEM_TOWER: item, USER_TOWER: user}
    calls = {ITEM_TOWER: item_calls(sample), USER_TOWER: user_calls(tables, max_items)}
    expected = {name: [torch_runner(graph)(call) for call in calls[name]] for name, graph in graphs.items()}
    query = UserQuery.of_users(spread(len(tables.users), NUM_USERS), tables.history)
    batch = user_inputs(tables, query, max_items)
    reference = torch_runner(user)(batch)["vector"]
    # Of raw media this tells whether what is exported hears and sees what the tables were made from.
    rows = tables.item_vectors[sample.rows[many_items(sample)]]
    errors = {"pytorch": {f"{ITEM_TOWER}.item_vector": _relative_error(rows, expected[ITEM_TOWER][0]["item_vector"])}}
    equal = {}
    backends = {"onnx": _onnx_runner, "torchscript": _torchscript_runner}
    if (folder / PROGRAMS[USER_TOWER]).is_file():
        backends["torch.export"] = _program_runner
    for backend, load in backends.items():
        errors[backend] = {}
        for name, graph in graphs.items():
            candidate = load(folder, name, graph)
            found = relative_errors(expected[name], candidate, calls[name])
            errors[backend] |= {f"{name}.{output}": error for output, error in found.items()}
        equal[backend] = count_equal_lists(reference, candidate(batch)["vector"], tables.item_vectors, query)
    new_items = sample.new[spread(len(sample.new), NUM_NEW_ITEMS)]
    embedder = _embedder(folder, manifest, item, tables)
    return ParityReport(
        relative_error=errors,
        equal_lists=equal,
        num_users=len(query),
        num_calls=sum(len(some) for some in calls.values()),
        equal_new_items=count_equal_new_items(embedder, tables, sample, new_items),
        num_new_items=len(new_items),
        versions={"torch": torch.__version__, "onnxruntime": require("onnxruntime", "export").__version__},
    )


def torch_runner(graph: TowerGraph, module: torch.nn.Module | None = None) -> Runner:
    """Run a tower, or another module with its inputs and outputs, on arrays by name."""

    def run(inputs: Arrays) -> Arrays:
        with torch.inference_mode():
            outputs = (module or graph)(*(torch.from_numpy(inputs[name]) for name in graph.inputs))
        return {name: value.numpy() for name, value in zip(graph.outputs, outputs, strict=True)}

    return run


def _torchscript_runner(folder: Path, name: str, graph: TowerGraph) -> Runner:
    return torch_runner(graph, load_torchscript(folder / f"{name}.pt"))


def _program_runner(folder: Path, name: str, graph: TowerGraph) -> Runner:
    return torch_runner(graph, load_program(folder / PROGRAMS[name]))


def _onnx_runner(folder: Path, name: str, graph: TowerGraph) -> Runner:
    return _onnx_graph(folder, name, graph).run


def _onnx_graph(folder: Path, name: str, graph: TowerGraph) -> OnnxGraph:
    path = folder / f"{name}.onnx"
    return OnnxGraph(path.read_bytes(), path, graph.inputs, graph.outputs)


def _embedder(folder: Path, manifest: Manifest, item: ItemTowerGraph, tables: Tables) -> ItemEmbedder:
    stand_ins = StandIns(tables.id_vectors, tables.content_vectors, tables.evidence)
    return ItemEmbedder(manifest, _onnx_graph(folder, ITEM_TOWER, item), stand_ins)


def relative_errors(expected: Iterable[Arrays], candidate: Runner, calls: Iterable[Arrays]) -> dict[str, float]:
    """The worst relative error of each output over the calls; infinite where a value is not finite or a shape differs.

    Args:
        expected: outputs of each call.
        candidate: what is to give them.
        calls: the inputs.
    """
    worst: dict[str, float] = {}
    for reference, inputs in zip(expected, calls, strict=True):
        found = candidate(inputs)
        for name, value in reference.items():
            worst[name] = max(worst.get(name, 0.0), _relative_error(value, found[name]))
    return worst


def _relative_error(reference: np.ndarray, found: np.ndarray) -> float:
    if reference.shape != found.shape or not np.isfinite(found).all() or not np.isfinite(reference).all():
        return float("inf")
    difference = float(np.abs(reference.astype(np.float64) - found).max(initial=0))
    largest = float(np.abs(reference).max(initial=0))
    if difference == 0:
        return 0.0
    return difference / largest if largest > 0 else float("inf")


def count_equal_lists(reference: Float32, candidate: Float32, item_vectors: Float32, query: UserQuery) -> int:
    """How many users' top lists are equal up to ties; see `DEFINITION`.

    Args:
        reference: (B, D) user vectors of PyTorch.
        candidate: (B, D) user vectors to compare.
        item_vectors: (N, D).
        query: whose histories are left out.
    """
    equal = 0
    for row in range(len(query)):
        seen = query.item_idx[query.indptr[row] : query.indptr[row + 1]]
        true_N, found_N = item_vectors @ reference[row], item_vectors @ candidate[row]
        margin = TIE * max(1.0, float(np.abs(true_N).max()))
        true_N[seen], found_N[seen] = -np.inf, -np.inf
        listed, best = true_N[_top(found_N)], true_N[_top(true_N)]
        equal += bool(np.isclose(listed, best, rtol=0, atol=margin).all())
    return equal


def count_equal_new_items(embedder: ItemEmbedder, tables: Tables, sample: ItemSample, places: Int64) -> int:
    """How many items embed from their content to their rows of the tables; see `DEFINITION`.

    Args:
        embedder: of the bundle.
        tables: with the rows.
        sample: with the content.
        places: in the sample, of items without training events.
    """
    if not len(places):
        return 0
    item, history, _ = embedder.embed(*sample.content(places))
    rows = sample.rows[places]
    equal = np.ones(len(places), np.bool_)
    for found, table in ((item, tables.item_vectors), (history, tables.history_vectors)):
        difference = np.abs(found - table[rows])
        equal &= (difference <= TOLERANCE * np.abs(table[rows]).max()).all(axis=1)
    return int(equal.sum())


def _top(scores_N: Float32) -> Int64:
    return np.argsort(-scores_N, kind="stable")[:TOP_K]
