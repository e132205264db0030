"""The model file of another run as plain data, with the ids that its rows belong to."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from avrec.core.errors import ArtefactError, AvrecError
from avrec.core.files import read_json, read_table, sha256_file
from avrec.core.ids import IdMap
from avrec.data.layout import MANIFEST, table_file
from avrec.training.checkpoints import load_tensors


@dataclass(frozen=True)
class OtherModel:
    """What a start may take from another model; no object is built from it.

    Attributes:
        state: its tensors.
        modalities: in the order of its item tower.
        fusion: the name of its fusion's class.
        learnt_sides: modalities whose numbers were learnt from its data set's side information, so they mean nothing elsewhere.
        data_hash: of its data set.
        sha256: of the file.
        ids: {"item" and "user": the ids of its rows}; None where they are not to be had.
        no_ids: why they are not.
    """

    state: Mapping[str, Tensor]
    modalities: tuple[str, ...]
    fusion: str
    learnt_sides: frozenset[str]
    data_hash: str
    sha256: str
    ids: Mapping[str, IdMap] | None
    no_ids: str


def read_other_model(path: str) -> OtherModel:
    """Read tensors and plain values only.

    Args:
        path: a run's `model.pt`. Its ids stand in the prepared data set that `run.json` beside it names.

    Raises:
        ArtefactError: it is missing, damaged, or no model file.
    """
    value = load_tensors(Path(path))
    try:
        state, sizes = value["state_dict"], value["sizes"]
        counts = {"item": int(sizes["num_items"]), "user": int(sizes["num_users"])}
        modalities = tuple(str(name) for name in sizes["modalities"])
        fusion = str(value["config"]["fusion"]["_target_"]).rpartition(".")[2] if modalities else ""
        # Vectors of texts are those of a frozen encoder; all others stand in axes of the data set's own.
        learnt = frozenset(name for name, learned in value["side"].items() if "encoder" not in learned)
        data_hash = str(value["data_hash"])
        rows = [len(state[name]) for name in ("item_table.output_ND", "item_evidence_N", "user_evidence_U")]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ArtefactError(
            f"{path}: no model file of this version ({error!r} in it). Give the model.pt of a run, not a checkpoint of a stage."
        ) from error
    if rows != [counts["item"], counts["item"], counts["user"]]:
        raise ArtefactError(f"{path}: its parts do not fit one another (rows {rows}, sizes {counts}). Train it again.")
    ids, no_ids = _ids_of(Path(path), data_hash, counts)
    return OtherModel(state, modalities, fusion, learnt, data_hash, sha256_file(path), ids, no_ids)


def _ids_of(path: Path, data_hash: str, counts: Mapping[str, int]) -> tuple[dict[str, IdMap] | None, str]:
    """The ids of the rows, or None and why: a model without its data set is still worth a start."""
    record = path.parent / "run.json"
    try:
        folder = Path(str(_of(record, "prepared")))
        for file, key in ((record, "data_hash"), (folder / MANIFEST, "content_hash")):
            if _of(file, key) != data_hash:
                return None, f"{file} is of another data set than the model"
        ids = {kind: IdMap(read_table(folder / table_file(f"{kind}s"))[f"{kind}_id"]) for kind in counts}
    except (AvrecError, KeyError) as error:
        return None, f"their ids are not to be had: {str(error).splitlines()[0]}"
    for kind, found in ids.items():
        if len(found) != counts[kind]:
            return None, f"{folder} has {len(found)} {kind}s, the model {counts[kind]}"
    return ids, ""


def _of(file: Path, key: str) -> Any:
    value = read_json(file)
    if not isinstance(value, dict) or key not in value:
        raise ArtefactError(f"{file}: does not say {key}")
    return value[key]
