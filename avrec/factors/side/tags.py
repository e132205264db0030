"""The tags of items as a feature modality."""

from avrec.core.dataset import Dataset, Feature
from avrec.core.errors import ArtefactError
from avrec.factors.side.base import State, names_of, trained_items
from avrec.factors.side.topics import Topics, by_name


class TagVectors:
    """Topics of the tags that people or the source gave to items (genres and keywords are tags too).

    Tags of an item that is held out for the user who gave them are not among `item_tags`, so no vector tells of an event that is
    to be found.

    Args:
        dim: topics at most; as many tags or fewer stand as they are.
        min_items: a tag of fewer trained items is left out.
    """

    def __init__(self, dim: int = 128, min_items: int = 2) -> None:
        self.dim = dim
        self.min_items = min_items

    def fit(self, dataset: Dataset) -> State | None:
        """Names of the kept tags and their topics; None without tags."""
        tags = dataset.item_tags
        found = None if tags is None else Topics.fit(tags.rows, trained_items(dataset), self.dim, self.min_items)
        if tags is None or found is None:
            return None
        kept, topics = found
        return {"tags": tags.names.ids(kept), **topics.state}

    def feature(self, dataset: Dataset, state: State) -> Feature:
        """Vectors (N, D); absent where an item has none of the kept tags.

        Raises:
            ArtefactError: the data set has no tags, or the state is not one of tags.
        """
        names = names_of(state, "tags")
        if dataset.item_tags is None:
            raise ArtefactError(f"side: the model reads tags, and the data set '{dataset.name}' has none.")
        rows = by_name(dataset.item_tags.rows, dataset.item_tags.names, names)
        return Topics.of_state(state, len(names)).feature(rows)
