"""The knowledge graph around items as a feature modality."""

from avrec.core.dataset import Dataset, Feature
from avrec.core.errors import ArtefactError
from avrec.factors.side.base import State, names_of, trained_items
from avrec.factors.side.topics import Topics, by_name


class GraphVectors:
    """Topics of an item's neighbours in the knowledge graph, one step away, whatever the relation and its direction.

    A person who directed one film and wrote another relates the two. Two items that are neighbours of each other are related
    through what else they share.

    Args:
        dim: topics at most.
        min_items: a neighbour of fewer trained items is left out.
    """

    def __init__(self, dim: int = 128, min_items: int = 2) -> None:
        self.dim = dim
        self.min_items = min_items

    def fit(self, dataset: Dataset) -> State | None:
        """Names of the kept entities and their topics; None without a graph."""
        graph = dataset.knowledge
        found = (
            None if graph is None else Topics.fit(graph.neighbours(), trained_items(dataset), self.dim, self.min_items)
        )
        if graph is None or found is None:
            return None
        kept, topics = found
        return {"entities": graph.entities.ids(kept), **topics.state}

    def feature(self, dataset: Dataset, state: State) -> Feature:
        """Vectors (N, D); absent where an item is in no triple with a kept entity.

        Raises:
            ArtefactError: the data set has no graph, or the state is not one of a graph.
        """
        names = names_of(state, "entities")
        if dataset.knowledge is None:
            raise ArtefactError(f"side: the model reads a knowledge graph, and the data set '{dataset.name}' has none.")
        rows = by_name(dataset.knowledge.neighbours(), dataset.knowledge.entities, names)
        return Topics.of_state(state, len(names)).feature(rows)
