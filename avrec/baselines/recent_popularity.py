"""Recent popularity: everybody is offered what was consumed most in the last days of training."""

import numpy as np

from avrec.baselines.popularity import PopularityScorer
from avrec.core.dataset import Dataset
from avrec.core.errors import ConfigError
from avrec.core.query import SECONDS_PER_DAY


class RecentPopularity:
    """`score_i = sum over training events e of i of 2 ^ (-age_e / half_life_days)`, of events no older than the window.

    The age of an event is counted back from the last training event of all, so nothing held out is read. Where each user is
    split by his own time, the last days of training are the last days of the log, also for users who left long before; a
    global split by time is what this baseline is made for. Weights do not count, as in popularity.

    With neither a window nor a half-life it is popularity; with a window alone, items that nobody consumed in it tie at 0.

    Args:
        half_life_days: after as many days an event counts half; all count alike when None.
        window_days: older events do not count, those exactly as old do; all count when None.

    Raises:
        ConfigError: a number of days is not positive.
    """

    def __init__(self, half_life_days: float | None = 30.0, window_days: float | None = None) -> None:
        for name, days in (("half_life_days", half_life_days), ("window_days", window_days)):
            if days is not None and not days > 0:
                raise ConfigError(
                    f"recent_popularity: {name} is {days!r}; expected a positive number of days, or null."
                )
        self.half_life_days = half_life_days
        self.window_days = window_days

    def fit(self, dataset: Dataset) -> PopularityScorer:
        """Count the training events by their age.

        Raises:
            ConfigError: the training events have no timestamps.
        """
        train = dataset.train
        if train.timestamp is None:
            raise ConfigError(
                f"recent_popularity: the data set {dataset.name!r} has no timestamps, so nothing in it is recent. "
                "Leave this baseline out, or use popularity."
            )
        age_days = (train.timestamp.max(initial=0) - train.timestamp) / SECONDS_PER_DAY
        counts = np.ones(len(train)) if self.half_life_days is None else np.exp2(-age_days / self.half_life_days)
        if self.window_days is not None:
            counts[age_days > self.window_days] = 0.0
        scores = np.bincount(train.item_idx, counts, minlength=dataset.num_items)
        return PopularityScorer(scores.astype(np.float32))
