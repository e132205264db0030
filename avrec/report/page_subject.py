"""`Subject`: everything that the sections of a report are made from, computed once."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from avrec.core.arrays import Float64, Int64
from avrec.core.clips import MediaKind
from avrec.core.dataset import Dataset
from avrec.data.media_errors import MediaProblem
from avrec.evaluation.evaluate import Evaluation
from avrec.evaluation.lists import popularity_groups
from avrec.evaluation.question import Question
from avrec.evaluation.top_lists import TopLists
from avrec.report.page_parts import shown
from avrec.report.page_run import RunRecord
from avrec.training.scorer import TwoTowerScorer

LIST = 20  # items of a list that is looked at
TITLE_COLUMNS = ("title", "name")


@dataclass(frozen=True)
class Subject:
    """What a report is about.

    Attributes:
        run: the run's own files.
        dataset: with the steps of media encoders among its features.
        scorer: the model at the operating point that the run reported.
        question: what the test part asks; None where it is empty.
        evaluation: of the scorer on it, with lists of `LIST` kept.
        problems: of media files, by kind and path.
    """

    run: RunRecord
    dataset: Dataset
    scorer: TwoTowerScorer
    question: Question | None
    evaluation: Evaluation | None
    problems: Mapping[MediaKind, Mapping[str, MediaProblem]]

    @property
    def lists(self) -> TopLists | None:
        """What the test users would be shown."""
        return None if self.evaluation is None else self.evaluation.top

    @cached_property
    def group_N(self) -> Int64:
        """Group of popularity of each item."""
        return popularity_groups(self.dataset)

    @cached_property
    def share_NM(self) -> Float64:
        """What each modality makes up of each item's content."""
        share: Float64 = self.scorer.share.float().cpu().numpy().astype(np.float64)
        return share

    @property
    def modalities(self) -> tuple[str, ...]:
        """In the order of `share_NM`."""
        return self.scorer.model.item_tower.modalities

    def title(self, item: int) -> str:
        """What an item is called: its title where the data set has one, else its id."""
        for column in TITLE_COLUMNS:
            text = self.dataset.texts[column][item] if column in self.dataset.texts else None
            if text is not None and text.strip():
                return shown(text)
        return shown(self.dataset.items.ids([item])[0])

    def path(self, item: int) -> str | None:
        """An item's media file, relative to the media root; its film where it has one, else its sound."""
        kinds: tuple[MediaKind, ...] = ("video", "audio")
        columns = [self.dataset.media[kind] for kind in kinds if kind in self.dataset.media]
        return next((path for path in (column.paths[item] for column in columns) if path is not None), None)
