"""What the verbs share that read media: the store of a configuration, and the table of rates."""

from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from avrec.build.instantiate import instantiate
from avrec.core.dataset import Dataset
from avrec.models.two_tower import TwoTower
from avrec.training.media_store import MediaStore, media_encoders
from avrec.training.rates import Rates

MAX_WAIT = 0.1


def media_store(config: DictConfig, dataset: Dataset, model: TwoTower) -> MediaStore | None:
    """The store of a model that reads media, None for one that does not."""
    if not media_encoders(model):
        return None
    store: MediaStore = instantiate(config.media)(dataset=dataset)
    return store


def print_rates(rates: Rates) -> None:
    """Print how many items a second each part of the line handled in this run."""
    table = Table(title="items per second", title_justify="left")
    for heading in ("part", "modality", "items", "seconds", "items/s"):
        table.add_column(heading, justify="left" if heading in ("part", "modality") else "right")
    for row in rates.rows():
        table.add_row(
            row["part"], row["modality"], f"{row['items']:,}", f"{row['seconds']:.1f}", f"{row['items_per_sec']:.1f}"
        )
    Console().print(table)
    for stage, share in rates.wait_share.items():
        advice = (
            "; larger batches (sampler.batch_size) or a faster disk for media.folder help" if share > MAX_WAIT else ""
        )
        print(f"stage {stage}: {share:.1%} of the time of its steps was spent waiting for data{advice}")
