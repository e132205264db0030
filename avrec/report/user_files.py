"""What a run leaves of each user and item, as Parquet: `per_user.parquet`, `top_items.parquet` and `shares.parquet`.

| file | one row for | columns |
|---|---|---|
| `per_user.parquet` | test user and recommender | `user_id`, `view`, `kind` (model or baseline), `num_targets`, `num_history`, `new_user`, `has_<slice>_target`, every metric by user |
| `top_items.parquet` | test user and place in his list | `user_id`, `rank` (from 1), `item_id`, `score`, `hit` |
| `shares.parquet` | item | `item_id`, `share_<modality>` |

A metric is null where a user has no such target. The schema's metadata holds, under `avrec`, JSON with `format_version`,
`code_version`, `data_hash`, `seed`, `part`, `protocol_name`, `protocol`, `diversity_by` and `marked`, the view that is reported.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import avrec
from avrec.core.arrays import Float32
from avrec.core.dataset import Dataset
from avrec.core.errors import AvrecError
from avrec.core.files import atomic_write
from avrec.core.ids import IdMap
from avrec.evaluation.compare import METADATA, PER_USER_FORMAT
from avrec.evaluation.evaluate import Evaluation
from avrec.evaluation.protocols import protocol_named
from avrec.evaluation.users import UserFacts

BLOCK_ROWS = 65_536
TEXT = pa.large_string()
NAME = pa.dictionary(pa.int32(), TEXT)


@dataclass(frozen=True)
class Reported:
    """The recommenders of one run.

    Attributes:
        marked: the name of the view that is reported.
        models: evaluations of the trained model by view, the marked one among them.
        baselines: evaluations of the baselines by name.
        seed: of the run.
    """

    marked: str
    models: Mapping[str, Evaluation]
    baselines: Mapping[str, Evaluation]
    seed: int

    @property
    def main(self) -> Evaluation:
        """The evaluation of the marked view."""
        return self.models[self.marked]

    def metadata(self, dataset: Dataset) -> dict[bytes, bytes]:
        """What every file says of itself."""
        about = {
            "format_version": PER_USER_FORMAT,
            "code_version": avrec.__version__,
            "data_hash": dataset.content_hash,
            "seed": self.seed,
            "part": self.main.part,
            "protocol_name": self.main.protocol_name,
            "protocol": self.main.protocol,
            "diversity_by": self.main.diversity_by,
            "marked": self.marked,
        }
        return {METADATA: json.dumps(about, sort_keys=True).encode()}


def write_per_user(path: str | Path, reported: Reported, dataset: Dataset) -> None:
    """Write every user's metrics under every recommender, atomically and some thousand rows at a time.

    Raises:
        AvrecError: two recommenders have one name, or were asked about other users.
    """
    rows = [("model", view, one) for view, one in reported.models.items()]
    rows += [("baseline", name, one) for name, one in reported.baselines.items()]
    main = reported.main
    twice = reported.models.keys() & reported.baselines.keys()
    if twice or not all(np.array_equal(one.user_idx, main.user_idx) for _, _, one in rows):
        raise AvrecError(
            f"{path}: the recommenders cannot stand in one table: "
            + (
                f"a view and a baseline are both called {sorted(twice)}."
                if twice
                else "they were asked of other users."
            )
        )
    facts = UserFacts.of(protocol_named(main.protocol_name).question(dataset, main.part))
    metrics = list(dict.fromkeys(name for _, _, one in rows for name in one.per_user))
    fields = [
        ("user_id", TEXT),
        ("view", NAME),
        ("kind", NAME),
        ("num_targets", pa.int64()),
        ("num_history", pa.int64()),
    ]
    fields += [(name, pa.bool_()) for name in facts.flags] + [(name, pa.float64()) for name in metrics]
    schema = pa.schema(fields, metadata=reported.metadata(dataset))

    def blocks() -> Iterator[pa.Table]:
        """The rows of some users of one kind and view at a time."""
        for kind, view, evaluation in rows:
            for start in range(0, len(facts.user_idx), BLOCK_ROWS):
                part = slice(start, start + BLOCK_ROWS)
                columns: list[pa.Array] = [_ids(dataset.users, facts.user_idx[part])]
                count = len(columns[0])
                columns += [_repeated(view, count), _repeated(kind, count)]
                columns += [pa.array(values[part]) for values in (facts.num_targets, facts.num_history)]
                columns += [pa.array(flag[part]) for flag in facts.flags.values()]
                columns += [
                    pa.array(evaluation.per_user[name][part], pa.float64(), from_pandas=True)
                    if name in evaluation.per_user
                    else pa.nulls(count, pa.float64())
                    for name in metrics
                ]
                yield pa.table(columns, schema=schema)

    _write(path, schema, blocks())


def write_top_items(path: str | Path, reported: Reported, dataset: Dataset) -> None:
    """Write what each user is shown at the marked operating point, with the score and whether he wanted it.

    Raises:
        AvrecError: the lists of that view were not kept.
    """
    main = reported.main
    top = main.top
    if top is None:
        raise AvrecError(f"{path}: the lists of view {reported.marked!r} were not kept. Evaluate it with keep=20.")
    schema = pa.schema(
        [("user_id", TEXT), ("rank", pa.int32()), ("item_id", TEXT), ("score", pa.float32()), ("hit", pa.bool_())],
        metadata=reported.metadata(dataset),
    )
    length = top.item_idx.shape[1]
    step = max(1, BLOCK_ROWS // length)

    def blocks() -> Iterator[pa.Table]:
        """Some rows at a time."""
        for start in range(0, len(main.user_idx), step):
            part = slice(start, start + step)
            shown = top.item_idx[part] >= 0
            row, place = np.nonzero(shown)
            columns = [
                _ids(dataset.users, main.user_idx[part][row]),
                pa.array((place + 1).astype(np.int32)),
                _ids(dataset.items, top.item_idx[part][shown]),
                pa.array(top.score[part][shown]),
                pa.array(top.hit[part][shown]),
            ]
            yield pa.table(columns, schema=schema)

    _write(path, schema, blocks())


def write_shares(
    path: str | Path, share_NM: Float32, modalities: Sequence[str], reported: Reported, dataset: Dataset
) -> None:
    """Write the share of each modality in each item's content, in the order of the catalogue; N items, M modalities."""
    fields = [("item_id", TEXT), *((f"share_{name}", pa.float32()) for name in modalities)]
    schema = pa.schema(fields, metadata=reported.metadata(dataset))

    def blocks() -> Iterator[pa.Table]:
        """Some rows at a time."""
        for start in range(0, dataset.num_items, BLOCK_ROWS):
            part = slice(start, start + BLOCK_ROWS)
            columns = [pa.array(np.ascontiguousarray(column[part]), pa.float32()) for column in share_NM.T]
            yield pa.table([dataset.items.array[part], *columns], schema=schema)

    _write(path, schema, blocks())


def _write(path: str | Path, schema: pa.Schema, blocks: Iterator[pa.Table]) -> None:
    with atomic_write(path) as file, pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for block in blocks:
            writer.write_table(block)


def _ids(ids: IdMap, index: np.ndarray) -> pa.Array:
    return ids.array.take(pa.array(index))


def _repeated(value: str, count: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(np.zeros(count, np.int32), pa.array([value], TEXT))
