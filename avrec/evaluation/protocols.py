"""Protocols by name: the honest default, and the ones by which published numbers were made.

| name | split | masked at test | catalogue | who uses it |
|---|---|---|---|---|
| `honest` | any | train and validation | all | the default here |
| `microlens` | leave-last-one-out of at most 13 events | the user's other events | items with an event | Ni et al. 2023 |
| `mmrec` | given, or random 8:1:1 | train alone | all | Zhou 2023 |
| `diffmm` | given in three parts | train alone | all | Jiang et al. 2024 |
| `lightgcn` | given train and test; validation carved out of train | the given train | all | He et al. 2020, BARS |
| `loo_unsampled` | leave-last-one-out | the user's other events | all | Petrov and Macdonald 2022 |
| `alive` | windows, of items with a lifetime | train and validation | items alive in the window | the scene `live` |

Whatever the protocol, epochs and settings are chosen on validation, with train masked there and, where items have a lifetime,
among those alive: a name tells how *test* is read.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from avrec.core.dataset import Dataset, HeldOut
from avrec.core.errors import ConfigError
from avrec.evaluation.question import Catalogue, Mask, Question

MICROLENS_EVENTS = 13
CARVE = "+split=given +data.split.validation_share=0.1"

# What is wrong with a split (as the manifest describes it) and its data set, and what mends it; None where nothing is.
Misfit = Callable[[Mapping[str, Any], Dataset], str | None]


@dataclass(frozen=True)
class Protocol:
    """How the test part is asked about.

    Attributes:
        name: stands in every result.
        mask: what the recommender is told and what is left out of its ranking, see `Question.of`.
        misfit: says why a data set does not fit, and the fix.
        catalogue: which items are ranked, see `Question.of`.
    """

    name: str
    mask: Mask
    misfit: Misfit
    catalogue: Catalogue = "all"

    def question(self, dataset: Dataset, part: HeldOut) -> Question:
        """What a held-out part asks by this protocol.

        Raises:
            DataError: nobody has an event in this part.
        """
        return Question.of(dataset, part, self.mask, self.catalogue)

    def check(self, split: Mapping[str, Any], dataset: Dataset) -> None:
        """Refuse a data set whose split is not the one that the protocol means.

        Args:
            split: `split` of the data set's manifest: the name of the class and its arguments.
            dataset: the data set.

        Raises:
            ConfigError: it does not fit; the message says why and what mends it.
        """
        problem = self.misfit(split, dataset)
        if problem is not None:
            raise ConfigError(
                f"protocol={self.name} does not fit the data set {dataset.name!r}, split by {described(split)}: {problem}"
            )


def described(split: Mapping[str, Any]) -> str:
    """A split in words: `RandomSplit(validation_share=0.1, test_share=0.2)`."""
    keys = ("validation_share", "test_share", "train_hours", "validation_hours", "test_hours", "lifetime_hours")
    arguments = [f"{key}={split[key]}" for key in keys if key in split]
    return f"{split['name']}({', '.join(arguments)})"


def _fits(split: Mapping[str, Any], dataset: Dataset) -> str | None:
    return None


def _leave_last_out(split: Mapping[str, Any], dataset: Dataset) -> str | None:
    if split["name"] == "LeaveLastOut":
        return None
    return "it holds out each user's last event. Prepare it with +split=leave_last_out, or take protocol=honest."


def _microlens(split: Mapping[str, Any], dataset: Dataset) -> str | None:
    problem = _leave_last_out(split, dataset)
    if problem is not None:
        return problem
    events = dataset.train.user_counts + dataset.validation.user_counts + dataset.test.user_counts
    if events.max(initial=0) > MICROLENS_EVENTS:
        return (
            f"a user has {events.max()} events; it keeps the last {MICROLENS_EVENTS} of each. Cut the log before "
            "avrec prepare, or take protocol=loo_unsampled, which keeps them all."
        )
    counts = dataset.train.item_counts + dataset.validation.item_counts + dataset.test.item_counts
    if (counts == 0).any():
        return (
            f"{int((counts == 0).sum())} items have no event; it ranks those that have one. "
            "Prepare it with +data.options.min_item_events=1."
        )
    return None


def _mmrec(split: Mapping[str, Any], dataset: Dataset) -> str | None:
    shares = (split.get("validation_share"), split.get("test_share"))
    if (split["name"] == "GivenSplit" and not shares[0]) or (split["name"] == "RandomSplit" and shares == (0.1, 0.1)):
        return None
    return (
        "it takes the given parts, or a random tenth of each user for validation and for test. Prepare it with +split=given, "
        "or with +split=random +data.split.validation_share=0.1 +data.split.test_share=0.1."
    )


def _diffmm(split: Mapping[str, Any], dataset: Dataset) -> str | None:
    if split["name"] == "GivenSplit" and not split.get("validation_share"):
        return None
    return "it takes the three given parts. Prepare it with +split=given, or take protocol=honest."


def _lightgcn(split: Mapping[str, Any], dataset: Dataset) -> str | None:
    if split["name"] == "GivenSplit" and split.get("validation_share"):
        return None
    return f"its data are train and test; validation is carved out of the given train. Prepare it with {CARVE}."


def _alive(split: Mapping[str, Any], dataset: Dataset) -> str | None:
    if split.get("lifetime_hours") is not None:
        return None
    return "its items live for a while. Prepare it with +split=window +data.split.lifetime_hours=24, or take protocol=honest."


HONEST = Protocol("honest", "history", _fits)
PROTOCOLS = (
    HONEST,
    Protocol("microlens", "history", _microlens),
    Protocol("mmrec", "train", _mmrec),
    Protocol("diffmm", "train", _diffmm),
    # What it calls train is ours and the validation part carved out of it: both are masked at test, as published.
    Protocol("lightgcn", "history", _lightgcn),
    Protocol("loo_unsampled", "history", _leave_last_out),
    Protocol("alive", "history", _alive, "alive"),
)


def protocol_named(name: str) -> Protocol:
    """The protocol of a name.

    Raises:
        ConfigError: there is no such protocol.
    """
    for protocol in PROTOCOLS:
        if protocol.name == name:
            return protocol
    known = ", ".join(protocol.name for protocol in PROTOCOLS)
    raise ConfigError(f"protocol: {name!r} is not one of {known}.")
