"""A study under way: where everything stands, what each run is told, and what has been finished."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from avrec.core.dataset import HeldOut
from avrec.pipelines.ablate_plan import REFERENCE, Line, Plan, Variant, every_run
from avrec.pipelines.ablate_run import PER_USER, Job, results_folder, views_of
from avrec.pipelines.ablate_templates import World
from avrec.report.ablation import Entry

VIEWS = "views"


@dataclass
class Study:
    """What is trained, on what, and how far it is.

    Attributes:
        config: of the study.
        folder: where it stands.
        prepared: the prepared data set.
        data_hash: of it.
        world: what the data set and the model have.
        line: the command line that is varied.
        plan: what is trained.
        seeds: over which.
        parts: that are read after training.
        failed: (variant's name, seed) -> why there is no result.
    """

    config: DictConfig
    folder: Path
    prepared: Path
    data_hash: str
    world: World
    line: Line
    plan: Plan
    seeds: list[int]
    parts: list[HeldOut]
    failed: dict[tuple[str, int], str] = field(default_factory=dict)

    @property
    def runs(self) -> list[tuple[Variant, int]]:
        """Every run in its order."""
        return list(every_run(self.plan, self.seeds))

    def run_folder(self, variant: Variant, seed: int) -> Path:
        """Where one run stands."""
        return self.folder / variant.slug / f"seed-{seed}"

    def control_folder(self, variant: Variant, seed: int) -> Path:
        """The control data set of a seed; variants share it."""
        return self.folder / "data" / f"{variant.control}-{seed}"

    def results(self, variant: Variant, seed: int, part: HeldOut) -> Path:
        """What one run left of each user."""
        return results_folder(self.run_folder(variant, seed), part, self.config) / PER_USER

    def is_done(self, variant: Variant, seed: int) -> bool:
        """Whether every part that is wanted has been read."""
        return all(self.results(variant, seed, part).is_file() for part in self.parts)

    def job(self, variant: Variant, seed: int) -> Job:
        """What the process of one run is told."""
        folder = self.run_folder(variant, seed).absolute()
        words = [*self.line.words, *variant.words, f"seed={seed}", word("run_dir", str(folder)), "multirun=true"]
        if variant.control is not None:
            words.append(word("data.path", str(self.control_folder(variant, seed).absolute())))
        place = self.line.place
        paths = [None if path is None else str(path) for path in (place.folder, place.extra)]
        views = variant.name == REFERENCE and bool(self.world.modalities)
        return Job(words, self.parts, self.data_hash, views, *paths)

    def entries(self, part: HeldOut) -> list[Entry]:
        """Reference, variants, and the views of the reference, with the files that are there."""
        found: list[Entry] = []
        for variant in (self.plan.reference, *self.plan.variants):
            files = {seed: path for seed in self.seeds if (path := self.results(variant, seed, part)).is_file()}
            failed = {seed: reason for (name, seed), reason in self.failed.items() if name == variant.name}
            control = () if variant.control is None else (f"control={variant.control}",)
            words = (*variant.words, *control)
            found.append(Entry(variant.name, variant.study, words, files, failed, note=variant.note))
        note = "the reference as it was trained, seen in part"
        views = views_of(self.world.modalities)
        seen = [Entry(f"{view} (same model)", VIEWS, (), found[0].files, {}, view, note) for view in views]
        return [*found, *seen]

    def about(self, part: HeldOut, command: str) -> dict[str, Any]:
        """Plain values that say what the results are of."""
        return {
            "part": part,
            "test_read": "test" in self.parts,
            "data_hash": self.data_hash,
            "seeds": self.seeds,
            "calibration": str(self.config.calibration),
            "protocol": str(self.config.protocol),
            "command": command,
        }


def word(key: str, value: str) -> str:
    r"""`key='value'` as one word of a command line, whatever is in the value.

    >>> word("run_dir", "it's here")
    "run_dir='it\\'s here'"
    """
    escaped = value.replace("'", "\\'")
    return f"{key}='{escaped}'"
