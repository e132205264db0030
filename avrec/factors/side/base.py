"""From side information to feature modalities: learned once from the trained items, applied again from what was kept.

What is learned (which tags count, the axes they are projected on, the knots of a scale) is a `State` of plain arrays and
names. It travels inside the model file, so that evaluation and export give the model the very numbers that it was trained
on: a decomposition made anew on another machine may come out turned.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Protocol

from avrec.core.arrays import Bool, Float32, Float64
from avrec.core.dataset import Dataset, Feature
from avrec.core.errors import ArtefactError, ConfigError

State = Mapping[str, Float32 | Float64 | list[str]]


class SideFeature(Protocol):
    """Makes one modality of a data set's side information.

    Nothing is read but the side information of items and, to know which items are trained, the number of their training events.
    """

    def fit(self, dataset: Dataset) -> State | None:
        """What is to be kept of this data set; None where it has nothing to make the modality of."""
        ...

    def feature(self, dataset: Dataset, state: State) -> Feature:
        """The vectors (N, F) of all items, cold ones too, and which items have any."""
        ...


def fit_side(
    dataset: Dataset, makers: Mapping[str, SideFeature], wanted: Collection[str] | None = None
) -> dict[str, State]:
    """Fit what the data set has something for.

    Args:
        dataset: with side information.
        makers: modality -> what makes it.
        wanted: modalities that the model uses; all when None.

    Raises:
        ConfigError: the data set has a modality of this name already.
    """
    states = {}
    for name, maker in makers.items():
        state = maker.fit(dataset) if wanted is None or name in wanted else None
        if state is None:
            continue
        if name in dataset.features or name in dataset.media:
            raise ConfigError(
                f"side.{name}: the data set '{dataset.name}' has a modality '{name}' of its own. Leave this one out with "
                f"'~side.{name}', or give it another name."
            )
        states[name] = state
    return states


def with_side(dataset: Dataset, makers: Mapping[str, SideFeature], states: Mapping[str, State]) -> Dataset:
    """The data set with the fitted modalities among its features; what follows treats them as it treats the others.

    Args:
        dataset: that was fitted, or another one of its kind.
        makers: modality -> what makes it.
        states: modality -> what `fit` gave.

    Raises:
        ArtefactError: a state has no maker, or does not fit it.
    """
    absent = sorted(set(states) - set(makers))
    if absent:
        raise ArtefactError(f"side: the states {absent} have no part in the configuration. Train again.")
    made = {name: makers[name].feature(dataset, state) for name, state in states.items()}
    return replace(dataset, features={**dataset.features, **made})


def trained_items(dataset: Dataset) -> Bool:
    """(N,) true for items with a training event: what is learned is learned from these."""
    return ~dataset.cold_items


def names_of(state: State, key: str) -> list[str]:
    """A list of names in a state.

    Raises:
        ArtefactError: there is none.
    """
    value = state.get(key)
    if not isinstance(value, list):
        raise ArtefactError(f"side: the state holds no names '{key}'; it holds {sorted(state)}. Train again.")
    return value


def numbers_of(state: State, key: str, shape: tuple[int | None, ...]) -> Float64:
    """An array in a state, of a shape in which None is any length.

    Raises:
        ArtefactError: there is none, or it has another shape.
    """
    value = state.get(key)
    found = None if value is None or isinstance(value, list) else value.shape
    if (
        found is None
        or len(found) != len(shape)
        or any(asked not in (None, length) for asked, length in zip(shape, found, strict=True))
    ):
        raise ArtefactError(f"side: '{key}' in the state has the shape {found}; expected {shape}. Train again.")
    assert value is not None and not isinstance(value, list)
    return value.astype(float)
