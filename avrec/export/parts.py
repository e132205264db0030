"""What is added to a bundle whose tables and graphs stand: everything here is made with the bundle as it will be served."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avrec.bundle.history_spec import history_spec
from avrec.bundle.parts import HISTORY
from avrec.bundle.reader import Bundle
from avrec.bundle.recommender import Recommender
from avrec.core.dataset import Dataset
from avrec.core.files import write_json
from avrec.export.examples import write_examples
from avrec.export.licences import write_licences
from avrec.export.options import ExportOptions
from avrec.export.preprocessing import write_preprocessing
from avrec.export.sample import EveryItem
from avrec.export.search_index import write_index
from avrec.export.smaller import write_smaller
from avrec.export.triton import write_triton
from avrec.export.vectors import write_vectors


@dataclass(frozen=True)
class Parts:
    """What the card tells of them.

    Attributes:
        recall: `recall_report.json`.
        licences: `licences.json`.
        smaller: `smaller.json`, where smaller towers were asked for.
    """

    recall: Mapping[str, Any]
    licences: Mapping[str, Any]
    smaller: Mapping[str, Any] | None


@dataclass(frozen=True)
class Sources:
    """What the parts are made of, beside the bundle itself.

    Attributes:
        dataset: the model's.
        licences: what `licences.json` will say.
        items: the catalogue as the item tower takes it.
    """

    dataset: Dataset
    licences: Mapping[str, Any]
    items: EveryItem


def write_parts(folder: Path, sources: Sources, options: ExportOptions) -> Parts:
    """Add the parts to the draft of a bundle, whose manifest lists the tables and graphs.

    Raises:
        ArtefactError: a smaller tower costs too much.
        ConfigError: what is asked for does not suit the model.
        MissingExtraError: an index is asked for and the extra `index` is not installed.
    """
    bundle = Bundle.open(folder, verify=False)
    recommender = Recommender(bundle)
    recall = write_index(recommender, folder, options.index)
    write_examples(recommender, folder)
    write_vectors(bundle, folder)
    write_json(folder / HISTORY, history_spec(bundle.manifest))
    write_preprocessing(sources.items.encoders, folder)
    write_licences(folder, sources.licences)
    if options.triton:
        write_triton(bundle, folder)
    smaller = None
    if options.smaller:
        bound = options.smaller_max_loss
        smaller = write_smaller(options.smaller, bundle, sources.items, sources.dataset, bound, folder)
    return Parts(recall, sources.licences, smaller)
