"""EfficientNet-Lite0 as a state dict to a folder of transformers."""

from pathlib import Path

import torch
from torch import Tensor

from avrec.core.errors import require

_TOP = {
    "_conv_stem": "embeddings.convolution",
    "_bn0": "embeddings.batchnorm",
    "_conv_head": "encoder.top_conv",
    "_bn1": "encoder.top_bn",
}
_BLOCK = {
    "_expand_conv": "expansion.expand_conv",
    "_bn0": "expansion.expand_bn",
    "_depthwise_conv": "depthwise_conv.depthwise_conv",
    "_bn1": "depthwise_conv.depthwise_norm",
    "_project_conv": "projection.project_conv",
    "_bn2": "projection.project_bn",
}
_CONFIG = {
    "architectures": ["EfficientNetForImageClassification"],
    "width_coefficient": 1.0,
    "depth_coefficient": 1.0,
    "hidden_dim": 1280,
    "image_size": 224,
    "hidden_act": "relu6",
    "dropout_rate": 0.2,
    "num_labels": 1000,
}
_PROCESSOR = {
    "size": {"height": 224, "width": 224},
    "resample": 3,
    "do_center_crop": False,
    "rescale_factor": 1 / 255,
    "rescale_offset": False,
    "include_top": False,  # its default normalises a second time
    "image_mean": [127 / 255] * 3,
    "image_std": [128 / 255] * 3,
}
OPEN_GATE = 30.0  # sigmoid(30) is exactly 1 in float32, float16 and bfloat16


def convert(source: Path, folder: Path) -> None:
    """Write config, image processor and weights.

    The class of transformers has a squeeze-and-excite gate in every block, Lite has none: weights of zero and a bias of 30
    leave it open.
    """
    transformers = require("transformers", "media")
    safetensors = require("safetensors.torch", "media")
    config = transformers.EfficientNetConfig(**_CONFIG)
    weights = {_renamed(name): value for name, value in torch.load(source, weights_only=True).items()}
    with torch.device("meta"):
        expected = transformers.EfficientNetForImageClassification(config).state_dict()
    for name, value in expected.items():
        if ".squeeze_excite." in name:
            weights[name] = torch.full(value.shape, OPEN_GATE if name.endswith("expand.bias") else 0.0)
    assert weights.keys() == expected.keys(), sorted(weights.keys() ^ expected.keys())
    contiguous: dict[str, Tensor] = {name: value.contiguous() for name, value in weights.items()}
    safetensors.save_file(contiguous, folder / "model.safetensors", metadata={"format": "pt"})
    config.save_pretrained(folder)
    transformers.EfficientNetImageProcessor(**_PROCESSOR).save_pretrained(folder)


def _renamed(name: str) -> str:
    part, _, rest = name.partition(".")
    if part == "_fc":
        return f"classifier.{rest}"
    if part != "_blocks":
        return f"efficientnet.{_TOP[part]}.{rest}"
    index, part, rest = rest.split(".", 2)
    return f"efficientnet.encoder.blocks.{index}.{_BLOCK[part]}.{rest}"
