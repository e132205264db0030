"""The numbers and names in the items table (duration, frame rate, year, release date, category ...) as a feature modality.

Axes: N items, Q knots of a scale, F columns of the feature.
"""

from typing import TypeVar

import numpy as np

from avrec.core.arrays import Bool, Float64
from avrec.core.dataset import Dataset, Feature
from avrec.core.errors import ArtefactError, ConfigError
from avrec.core.side import CategoryField, NumericField
from avrec.factors.side.base import State, names_of, numbers_of, trained_items

Kind = TypeVar("Kind", NumericField, CategoryField)
OTHER = ""  # stands for every rarer category; no category is the empty text


class FieldVectors:
    """Every field as some columns: a number by its place between knots, a category by one column a name.

    A number falls between two knots, which are quantiles of the trained items, and is shared among them by its distance: columns
    that sum to 1, so that taste for the middle of a scale can be learned, and outliers and skewed scales do no harm. Beyond the
    last knot a value counts as the last: an item that came out after training is as new as the newest. Where a number is absent
    its columns are 0, which no present value gives. The age of an item is its release date counted from another day, so a date
    needs no treatment of its own.

    Args:
        num_knots: of each number, at least 2; fewer where values are few.
        max_categories: columns of one category field; what is rarer shares one column.
        min_items: a category of fewer trained items counts as rare.
        fields: names of the fields to use; all when None.

    Raises:
        ConfigError: a number is too small.
    """

    def __init__(
        self, num_knots: int = 6, max_categories: int = 32, min_items: int = 5, fields: list[str] | None = None
    ) -> None:
        if num_knots < 2 or max_categories < 1 or min_items < 1:
            raise ConfigError(
                f"side: num_knots is {num_knots}, max_categories is {max_categories}, min_items is {min_items}; expected at "
                "least 2, 1 and 1."
            )
        self.num_knots = num_knots
        self.max_categories = max_categories
        self.min_items = min_items
        self.fields = fields

    def fit(self, dataset: Dataset) -> State | None:
        """Knots and categories of the trained items; None where no field tells items apart.

        Raises:
            ConfigError: the data set has no such field.
        """
        unknown = sorted(set(self.fields or ()) - set(dataset.item_fields))
        if unknown:
            raise ConfigError(
                f"side: the data set '{dataset.name}' has no fields {unknown}; it has {sorted(dataset.item_fields)}."
            )
        scales, knots, sets, categories = list[str](), [np.zeros(0)], list[str](), list[str]()
        for name in sorted(dataset.item_fields if self.fields is None else self.fields):
            field = dataset.item_fields[name]
            chosen = field.present & trained_items(dataset)
            if isinstance(field, NumericField):
                found = self._knots(field, chosen)
                scales += [name] * len(found)
                knots.append(found)
            else:
                names = self._categories(field, chosen)
                sets += [name] * len(names)
                categories += names
        if not scales and not sets:
            return None
        return {"scales": scales, "knots": np.concatenate(knots), "sets": sets, "categories": categories}

    def feature(self, dataset: Dataset, state: State) -> Feature:
        """Vectors (N, F); absent where an item has none of the fields.

        Raises:
            ArtefactError: the data set lacks a field, or the state is not one of fields.
        """
        scales, sets, categories = (names_of(state, key) for key in ("scales", "sets", "categories"))
        knots = numbers_of(state, "knots", (len(scales),))
        if len(sets) != len(categories):
            raise ArtefactError(f"side: {len(sets)} sets and {len(categories)} categories in the state. Train again.")
        parts, present = [np.zeros((dataset.num_items, 0))], np.zeros(dataset.num_items, np.bool_)
        for name in dict.fromkeys(scales):
            number = _field(dataset, name, NumericField)
            parts.append(_between(number.values, knots[np.array(scales) == name]) * number.present[:, None])
            present |= number.present
        for name in dict.fromkeys(sets):
            category = _field(dataset, name, CategoryField)
            chosen = [value for value, owner in zip(categories, sets, strict=True) if owner == name]
            parts.append(_one_hot(category, chosen))
            present |= category.present
        return Feature(np.concatenate(parts, axis=1).astype(np.float32), present)

    def _knots(self, field: NumericField, chosen: Bool) -> Float64:
        """Distinct quantiles, ascending; none where all values are equal."""
        values = field.values[chosen]
        if not len(values):
            return np.zeros(0)
        knots = np.unique(np.quantile(values, np.linspace(0, 1, self.num_knots)))
        return knots if len(knots) > 1 else np.zeros(0)

    def _categories(self, field: CategoryField, chosen: Bool) -> list[str]:
        """The most frequent names, and `OTHER` where rarer ones are left; none where all items share one."""
        counts = np.bincount(field.code[chosen], minlength=len(field.names))
        order = np.argsort(-counts, kind="stable")[: self.max_categories]
        kept = order[counts[order] >= self.min_items]
        if len(kept) + bool(counts.sum() > counts[kept].sum()) < 2:
            return []
        names = field.names.ids(kept)
        return [*names, OTHER] if counts.sum() > counts[kept].sum() else names


def _field(dataset: Dataset, name: str, kind: type[Kind]) -> Kind:
    field = dataset.item_fields.get(name)
    if not isinstance(field, kind):
        raise ArtefactError(
            f"side: the model reads the field {name!r} as {kind.__name__}, and the data set '{dataset.name}' has "
            f"{'none' if field is None else type(field).__name__} of this name."
        )
    return field


def _between(values: Float64, knots: Float64) -> Float64:
    """(N, Q) how much of each value belongs to each knot: hats that are 1 at their knot and 0 at its neighbours."""
    place = np.interp(values, knots, np.arange(len(knots)))
    return np.asarray(np.maximum(0.0, 1.0 - np.abs(place[:, None] - np.arange(len(knots)))))


def _one_hot(field: CategoryField, chosen: list[str]) -> Float64:
    """(N, columns) 1 in the column of an item's name; in that of `OTHER`, where there is one, for every name without a column."""
    column = np.full(len(field.names) + 1, chosen.index(OTHER) if OTHER in chosen else -1)
    column[-1] = -1  # the code of an absent value is -1
    index = field.names.index(chosen)
    column[index[index >= 0]] = np.flatnonzero(index >= 0)
    found = column[field.code]
    return np.asarray(found[:, None] == np.arange(len(chosen)), np.float64)
