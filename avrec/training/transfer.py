"""A start from the model of another data set: what belongs to no catalogue is taken, and rows where both know an id.

Axes: U users, N items, M modalities, R rows that both have, D embedding of the ids.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor

from avrec.core.arrays import Int64
from avrec.core.dataset import Dataset
from avrec.core.errors import ConfigError
from avrec.models.encoders.feature import Standardise
from avrec.models.two_tower import TwoTower
from avrec.training.other_model import OtherModel, read_other_model

ENCODERS, FUSION = "item_tower.encoders", "item_tower.fusion"
CONTENT, IDS = "user_tower.content_pooling", "user_tower.id_pooling"
ITEM_ROWS = ("output_ND", "history_ND", "bias_N")


@dataclass
class Taking:
    """What goes from one state to another, part by part: a part is taken whole or not at all.

    Attributes:
        own: the state that is written to; its tensors are those of the model.
        other: the state that is read.
        taken: {part: (tensors, numbers)}.
        left: {part: why}.
    """

    own: Mapping[str, Tensor]
    other: Mapping[str, Tensor]
    taken: dict[str, tuple[int, int]] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)

    def misfit(self, prefix: str, by_modality: frozenset[str] = frozenset()) -> str | None:
        """Why the tensors below a prefix cannot be taken, None where they can.

        Args:
            prefix: of names.
            by_modality: names whose first axis stands for modalities and may be of another length.
        """
        own, other = (set(_below(state, prefix)) for state in (self.own, self.other))
        if own != other:
            only = sorted(own ^ other)[0]
            return f"another structure: {only} is only {'here' if only in own else 'there'}"
        for name in sorted(own):
            here, there = (tuple(state[name].shape) for state in (self.own, self.other))
            if name in by_modality:
                here, there = here[1:], there[1:]
            if here != there:
                return f"another shape: {name} is {here} here and {there} there"
        return None

    def take(self, part: str, names: list[str], rows: tuple[Tensor, Tensor] | None = None) -> None:
        """Copy tensors, or the rows (own, other) of them; what has none is not counted as taken."""
        numbers = 0
        for name in names:
            if rows is None:
                self.own[name].copy_(self.other[name])
                numbers += self.own[name].numel()
            else:
                self.own[name][rows[0]] = self.other[name][rows[1]].to(self.own[name].dtype)
                numbers += self.own[name][:1].numel() * len(rows[0])
        if names:
            before = self.taken.get(part, (0, 0))
            self.taken[part] = (before[0] + len(names), before[1] + numbers)


class TransferStart:
    """Start from a trained model of another catalogue.

    Taken are encoders with their heads, the fusion, the pooling of histories and the scale between content and ids, each
    whole or not at all; and, of items and users whose id both data sets have and the other model was trained on, their rows.
    What is counted on this data set's own train part (evidence, the statistics of features, neighbours, friends, the
    operating point) stays its own. What reads id vectors (their pooling, their map) speaks in the coordinates of the other
    table, so it comes only with rows for most of the trained items; so do the users' rows.

    Whether the other model was trained on events that are held out here, nobody checks: give one whose log ends before, or
    set `rows=false` where both logs are of the same people.

    Args:
        ckpt: the `model.pt` of a run; the ids are read from the prepared data set that the `run.json` beside it names.
        rows: whether equal ids name the same thing in both data sets.
    """

    def __init__(self, ckpt: str, rows: bool = True) -> None:
        self.ckpt = ckpt
        self.rows = rows

    @torch.no_grad()
    def __call__(self, model: TwoTower, dataset: Dataset) -> dict[str, Any]:
        """Overwrite what fits, and print what that was.

        Args:
            model: of the same kind; parts of other shapes are left as they are.
            dataset: that it is to be trained on.

        Returns:
            The model file and its digest, what was taken and what was left.

        Raises:
            ArtefactError: the file is no model file.
            ConfigError: nothing of it fits.
        """
        other = read_other_model(self.ckpt)
        taking = Taking(model.state_dict(), other.state)
        encoders = _take_encoders(taking, model, other)
        _take_content(taking, model, other, encoders)
        _take_rows(taking, dataset, other, self.rows)
        if not taking.taken:
            raise ConfigError(
                f"start.ckpt: nothing of {self.ckpt} fits this model. {_sentence(taking.left)}. "
                "Give a model of the same modalities and widths, or set start=random."
            )
        tensors, numbers = (sum(counts) for counts in zip(*taking.taken.values(), strict=True))
        took = ", ".join(f"{part} ({counts[1]:,})" for part, counts in taking.taken.items())
        rank_zero_only(print)(
            f"start: from {self.ckpt} (sha256 {other.sha256[:12]}) {tensors} tensors with {numbers:,} numbers are taken: "
            f"{took}; left as they are: {_sentence(taking.left) or 'none'}",
            flush=True,
        )
        source = {"ckpt": self.ckpt, "sha256": other.sha256, "data_hash": other.data_hash}
        counts = {part: {"tensors": many[0], "numbers": many[1]} for part, many in taking.taken.items()}
        return {**source, "taken": counts, "left": taking.left}


def _take_encoders(taking: Taking, model: TwoTower, other: OtherModel) -> list[str]:
    """Take each encoder but its statistics of the features; the modalities whose encoder fits."""
    modules = model.item_tower.encoders
    statistics = {
        f"{ENCODERS}.{name}.{place}.{buffer}"
        for name, encoder in modules.items()
        for place, part in encoder.named_modules()
        if isinstance(part, Standardise)
        for buffer in part.state_dict()
    }
    fitting = []
    for name in dict.fromkeys([*model.item_tower.modalities, *other.modalities]):
        part = f"encoder {name}"
        if name not in modules or name not in other.modalities:
            taking.left[part] = f"the modality is only {'here' if name in modules else 'there'}"
        elif name in other.learnt_sides:
            taking.left[part] = "what its numbers mean was learnt from the other data set"
        elif reason := taking.misfit(f"{ENCODERS}.{name}"):
            taking.left[part] = reason
        else:
            fitting.append(name)
            taking.take(part, [key for key in _below(taking.own, f"{ENCODERS}.{name}") if key not in statistics])
    return fitting


def _take_content(taking: Taking, model: TwoTower, other: OtherModel, encoders: list[str]) -> None:
    """Take the fusion, then what reads its output: the pooling of content and its scale."""
    if not model.item_tower.modalities:
        return
    here, there = model.item_tower.modalities, other.modalities
    by_modality = frozenset({f"{FUSION}.modality_MD", f"{FUSION}.weight_M"} if here != there else ())
    kind = type(model.item_tower.fusion).__name__
    # Columns of these stand for modalities at their places.
    placed = kind in ("ConcatenationFusion", "GatedFusion")
    if not encoders:
        reason: str | None = "no encoder before it fits"
    elif kind != other.fusion:
        reason = f"a {kind} here, {other.fusion or 'none'} there"
    elif placed and here != there:
        reason = f"made for the modalities {list(there)}, here are {list(here)}"
    else:
        reason = taking.misfit(FUSION, by_modality)
    if reason is not None:
        taking.left |= {"fusion": reason, "content pooling": "the fusion before it is left"}
        return
    # Parameters alone: weights that were given by hand are buffers, and stay.
    learnt = [name for name, _ in model.named_parameters() if name.startswith(f"{FUSION}.")]
    taking.take("fusion", [name for name in learnt if name not in by_modality])
    places = torch.tensor([[here.index(name), there.index(name)] for name in encoders]).T
    taking.take("fusion", [name for name in learnt if name in by_modality], (places[0], places[1]))
    taking.take("scale", ["content_log_scale"])
    if reason := taking.misfit(CONTENT):
        taking.left["content pooling"] = reason
    else:
        taking.take("content pooling", list(_below(taking.own, CONTENT)))


def _take_rows(taking: Taking, dataset: Dataset, other: OtherModel, wanted: bool) -> None:
    """Take the rows of items and users that both data sets know, and what reads id vectors where most items have one."""
    items, here, there = "item rows", *(state["item_table.output_ND"].shape[1] for state in (taking.own, taking.other))
    reason: str | None = None if wanted else "start.rows=false"
    if reason is None and here != there:
        reason = f"id vectors have {here} numbers here and {there} there"
    if reason is not None or other.ids is None:
        taking.left |= {items: reason or other.no_ids, "id pooling": "it belongs to the item rows"}
        return
    names = [f"item_table.{name}" for name in ITEM_ROWS]
    names = [name for name in names if name in taking.own and name in taking.other]
    rows = _shared(dataset.items.index(other.ids["item"].array), taking.other["item_evidence_N"])
    trained_N = torch.from_numpy(~dataset.cold_items)
    known = int(trained_N[rows[0]].sum())
    if len(rows[0]):
        taking.take(items, names, rows)
    else:
        taking.left[items] = "no trained item has the id of one there"
    if 2 * known <= int(trained_N.sum()):
        taking.left["id pooling"] = f"only {known:,} of {int(trained_N.sum()):,} trained items have a row there"
    elif reason := taking.misfit(IDS):
        taking.left["id pooling"] = reason
    else:
        own = ["user_tower.map_DD", "user_tower.constant_D"]
        taking.take("id pooling", [*_below(taking.own, IDS), *own])
    name = "user_table.residual_UD"
    if not len(taking.own[name]):
        return
    if "id pooling" in taking.left:
        taking.left["user rows"] = "they stand in the coordinates of the item rows there"
        return
    rows = _shared(dataset.users.index(other.ids["user"].array), taking.other["user_evidence_U"])
    if not len(taking.other[name]) or not len(rows[0]):
        taking.left["user rows"] = (
            "no trained user of one there has the id" if len(taking.other[name]) else "none there"
        )
    else:
        taking.take("user rows", [name], rows)


def _shared(found: Int64, evidence: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (R,) here and there of what both know and the other model was trained on."""
    here = torch.tensor(found)
    there = torch.nonzero((here >= 0) & (evidence > 0)).squeeze(1)
    return here[there], there


def _below(state: Mapping[str, Tensor], prefix: str) -> Iterator[str]:
    return (name for name in state if name.startswith(f"{prefix}."))


def _sentence(left: Mapping[str, str]) -> str:
    return "; ".join(f"{part} ({reason})" for part, reason in left.items())
