"""From configuration nodes and the sizes of a catalogue to a `TwoTower`, and back from a model file alone."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

import avrec
from avrec.build.instantiate import instantiate
from avrec.core.dataset import Dataset
from avrec.core.errors import ArtefactError, ConfigError
from avrec.core.files import atomic_write, check_format_version
from avrec.models.encoders.base import MediaEncoder
from avrec.models.encoders.checkpoint import Checkpoint, read_checkpoint
from avrec.models.encoders.feature import Standardise
from avrec.models.item_tower import ItemTower, OperatingPoint
from avrec.models.two_tower import TwoTower
from avrec.training.checkpoints import load_tensors

FORMAT_VERSION = (
    4  # 4: factors beside the ids; 3: side information, what friends lend; 2: media encoders with their checkpoints
)

# The keys of a configuration that describe the model; they travel inside the model file.
MODEL_KEYS = (
    "id_dim",
    "modalities",
    "encoder",
    "fusion",
    "pooling",
    "item_tower",
    "user_tower",
    "item_table",
    "user_table",
)


@dataclass(frozen=True)
class Sizes:
    """What a model needs to know of its catalogue.

    Attributes:
        num_items: rows of the item table.
        num_users: rows of the user table.
        modalities: in the order of the item tower.
        feature_dims: {modality: F} of those that are finished features.
        checkpoints: {modality: the pretrained encoder's own description} of those that are media.
    """

    num_items: int
    num_users: int
    modalities: tuple[str, ...]
    feature_dims: dict[str, int]
    checkpoints: dict[str, Checkpoint] = field(default_factory=dict)

    @classmethod
    def of(cls, dataset: Dataset, modalities: list[str] | None, encoder: Mapping[str, Any] | None = None) -> "Sizes":
        """The sizes of a data set.

        Args:
            dataset: the data set.
            modalities: which of its features and media to use, in this order; all when None, none when empty.
            encoder: the configuration's encoders; their checkpoints are looked up for media.

        Raises:
            ConfigError: the data set has no such modality.
        """
        known = sorted({*dataset.features, *dataset.media})
        names = known if modalities is None else list(modalities)
        absent = [name for name in names if name not in known]
        if absent:
            raise ConfigError(f"modalities: the data set '{dataset.name}' has no {absent}; it has {known}.")
        dims = {name: int(dataset.features[name].values.shape[1]) for name in names if name in dataset.features}
        checkpoints = {
            name: read_checkpoint(str((encoder or {})[name]["pretrained"])) for name in names if name in dataset.media
        }
        return cls(dataset.num_items, dataset.num_users, tuple(names), dims, checkpoints)

    @classmethod
    def from_plain(cls, value: Mapping[str, Any]) -> "Sizes":
        """The sizes as a model file holds them."""
        checkpoints = {name: Checkpoint(**found) for name, found in value["checkpoints"].items()}
        return cls(**{**value, "modalities": tuple(value["modalities"]), "checkpoints": checkpoints})


def supply(maker: Callable[..., Any], **sizes: Any) -> Any:
    """Call a partial with those of the sizes that its signature takes."""
    accepted = inspect.signature(maker).parameters
    return maker(**{name: value for name, value in sizes.items() if name in accepted})


def build_model(config: Mapping[str, Any], sizes: Sizes, trusted: bool = True) -> TwoTower:
    """The untrained model of a configuration.

    Args:
        config: holds `MODEL_KEYS`; every part is a partial that is given the sizes it asks for.
        sizes: of the catalogue.
        trusted: False for a configuration that came with a file.

    Raises:
        ConfigError: a part is not allowed or does not fit.
    """
    parts = {
        key: instantiate(config[key], trusted=trusted)
        for key in MODEL_KEYS
        if key not in ("id_dim", "modalities", "encoder")
    }
    dim = int(config["id_dim"])
    encoders = {name: build_encoder(name, config["encoder"], sizes, trusted) for name in sizes.modalities}
    fusion = None
    if encoders:
        fusion = supply(parts["fusion"], input_dims={name: encoder.output_dim for name, encoder in encoders.items()})
    item_tower: ItemTower = parts["item_tower"](encoders=encoders, fusion=fusion, id_dim=dim)
    user_tower = parts["user_tower"](
        id_dim=dim,
        content_dim=item_tower.content_dim,
        id_pooling=supply(parts["pooling"]["id"], dim=dim),
        content_pooling=supply(parts["pooling"]["content"], dim=max(item_tower.content_dim, 1)),
    )
    return TwoTower(
        item_tower,
        user_tower,
        supply(parts["item_table"], num_items=sizes.num_items, dim=dim),
        supply(parts["user_table"], num_users=sizes.num_users, dim=dim),
    )


def build_encoder(name: str, config: Mapping[str, Any], sizes: Sizes, trusted: bool = True) -> nn.Module:
    """The encoder of one modality, with random weights."""
    if name in sizes.feature_dims:
        maker = instantiate(config["feature"], trusted=trusted)
        encoder: nn.Module = maker(feature_dim=sizes.feature_dims[name])
    else:
        encoder = instantiate(config[name], trusted=trusted)(checkpoint=sizes.checkpoints[name])
    return encoder


def load_pretrained(model: TwoTower) -> None:
    """Give every media encoder the weights that its configuration names."""
    for encoder in model.item_tower.encoders.values():
        if isinstance(encoder, MediaEncoder):
            encoder.load_pretrained()


def learn_from_train(model: TwoTower, dataset: Dataset) -> None:
    """Set what is counted rather than trained, from train only: evidence, and the statistics of features.

    Biases start at 0. Starting them at log popularity skips the early plateau (ten epochs on short videos), but the model
    that comes out was measured to be worse after propagation (validation .170 against .180).
    """
    counts = dataset.train.item_counts
    model.item_evidence_N.copy_(torch.from_numpy(counts))
    model.user_evidence_U.copy_(torch.from_numpy(dataset.train.user_counts))
    for name, encoder in model.item_tower.encoders.items():
        feature = dataset.features[name]
        preprocess = encoder.get_submodule("preprocess")
        if isinstance(preprocess, Standardise):
            rows = torch.tensor(feature.values[feature.present & (counts > 0)])
            preprocess.learn(rows.flatten(0, -2))  # steps in time, where there are any, are rows too


@dataclass(frozen=True)
class ModelFile:
    """A trained model with where it came from.

    Attributes:
        model: at the operating point that was asked for.
        config: the run's whole resolved configuration.
        data_hash: content hash of the data set it was trained on.
        seed: of the run.
        code_version: of avrec.
        operating_points: {rule: calibration}.
        frontier: what the calibration saw on validation.
        side: {modality of side information: what was learned for it}, see `avrec.build.side`.
    """

    model: TwoTower
    config: dict[str, Any]
    data_hash: str
    seed: int
    code_version: str
    operating_points: dict[str, OperatingPoint]
    frontier: list[dict[str, float]]
    side: dict[str, dict[str, Any]] = field(default_factory=dict)


def save(
    path: str | Path,
    model: TwoTower,
    sizes: Sizes,
    config: Mapping[str, Any],
    data_hash: str,
    operating_points: Mapping[str, OperatingPoint],
    frontier: list[dict[str, float]],
    side: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Write a model file: tensors and plain values only."""
    value = {
        "format_version": FORMAT_VERSION,
        "code_version": avrec.__version__,
        "state_dict": model.state_dict(),
        "sizes": asdict(sizes),
        "config": dict(config),
        "data_hash": data_hash,
        "seed": int(config["seed"]),
        "operating_points": {name: asdict(point) for name, point in operating_points.items()},
        "frontier": frontier,
        "side": dict(side or {}),
    }
    with atomic_write(path) as file:
        torch.save(value, file)


def load(path: str | Path, rule: str = "overall") -> ModelFile:
    """Rebuild a model from its file alone; its configuration is data and may name nothing but models.

    Args:
        path: what `save` wrote.
        rule: the operating point to put in force.

    Raises:
        ArtefactError: the file is missing, damaged, of another version, or its parts do not fit one another.
        ConfigError: there is no such operating point.
    """
    value = load_tensors(Path(path))
    check_format_version(value, path, FORMAT_VERSION)
    try:
        sizes = Sizes.from_plain(value["sizes"])
        _check_sizes(sizes, value, path)
        model = build_model(value["config"], sizes, trusted=False)
        model.load_state_dict(value["state_dict"])
        points = {name: OperatingPoint(**point) for name, point in value["operating_points"].items()}
        found = ModelFile(
            model,
            value["config"],
            str(value["data_hash"]),
            int(value["seed"]),
            str(value["code_version"]),
            points,
            list(value["frontier"]),
            dict(value["side"]),
        )
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ArtefactError(f"{path}: its parts do not fit one another ({reason}). Train again.") from error
    if rule not in points:
        raise ConfigError(f"calibration: {path} has no operating point '{rule}'; it has {sorted(points)}.")
    model.set_operating_point(points[rule])
    model.eval()
    return found


def _check_sizes(sizes: Sizes, value: Mapping[str, Any], path: str | Path) -> None:
    """Compare the sizes that a file claims with its tensors, before a model of that size is built."""
    state, dim = value["state_dict"], value["config"]["id_dim"]
    for name, tensor in state.items():
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise ArtefactError(
                f"{path}: its parts do not fit one another ({name} claims more numbers than it holds). Train again."
            )
    map_FF = state["user_tower.factor_map_FF"]
    num_factors = map_FF.shape[0] if map_FF.dim() else 0
    claims = {
        "factors_NF": (sizes.num_items, num_factors),
        "user_tower.factor_map_FF": (num_factors, num_factors),
        "item_table.output_ND": (sizes.num_items, dim),
        "user_evidence_U": (sizes.num_users,),
        **{f"item_tower.encoders.{name}.preprocess.mean_F": (width,) for name, width in sizes.feature_dims.items()},
    }
    for name, shape in claims.items():
        if name in state and tuple(state[name].shape) != shape:
            raise ArtefactError(
                f"{path}: its parts do not fit one another ({name} is {tuple(state[name].shape)}, the sizes say {shape}). "
                "Train again."
            )
