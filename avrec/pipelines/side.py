"""What the verbs share that read side information: fitting it before training, and making it again for a trained model."""

from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.utilities import rank_zero_only

from avrec.build.model import ModelFile
from avrec.build.side import side_makers, unpacked
from avrec.core.dataset import Dataset
from avrec.factors.side.base import State, fit_side, with_side


def fitted_side(config: DictConfig, dataset: Dataset) -> tuple[Dataset, dict[str, State]]:
    """The data set with the modalities that `config.side` makes of its side information, and what was learned for them.

    Where `config.modalities` names modalities, only those; what the data set has nothing for is left out.

    Raises:
        ConfigError: a part does not fit the data set.
    """
    node = OmegaConf.to_container(config.side, resolve=True) if config.get("side") else {}
    assert isinstance(node, dict)
    makers = side_makers({str(name): part for name, part in node.items()}, *_places(config))
    wanted = config.get("modalities")
    states = fit_side(dataset, makers, None if wanted is None else list(wanted))
    found = with_side(dataset, makers, states)
    for name in states:
        feature = found.features[name]
        rank_zero_only(print)(
            f"side {name}: {int(feature.present.sum()):,} of {dataset.num_items:,} items, {feature.values.shape[1]} numbers each"
        )
    return found, states


def side_of_model(config: DictConfig, found: ModelFile, dataset: Dataset) -> Dataset:
    """The data set with the modalities of side information that a trained model reads, as it was trained on them.

    Raises:
        ArtefactError: the data set or an encoder is not what they were made of.
    """
    states = unpacked(found.side)
    if not states:
        return dataset
    node = {name: (found.config.get("side") or {}).get(name) for name in states}
    return with_side(dataset, side_makers(node, *_places(config), trusted=False), states)


def _places(config: DictConfig) -> tuple[Path, str]:
    return Path(config.media.folder), str(config.media.device)
