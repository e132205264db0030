"""Encoders of single pictures, run over the frames of a clip: EfficientNet, ViT and the vision half of CLIP.

Axes: X clips, T frames of a clip, F = X x T pictures, H hidden width.

They know nothing of time; the order of the frames is the head's business.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from avrec.core.clips import MediaKind, VideoSpec
from avrec.core.errors import ConfigError, require
from avrec.models.encoders.base import MediaEncoder, Trunk
from avrec.models.encoders.checkpoint import Checkpoint
from avrec.models.encoders.layer import Layer


class Pixels(nn.Module):
    """Rescaling and normalising as the checkpoint's image processor does it, as one multiplication and one addition.

    Resizing is left to the decoder, which squeezes the whole frame to the clip's size.

    Args:
        processor: an image processor of transformers.
    """

    scale_C11: Tensor
    shift_C11: Tensor

    def __init__(self, processor: Any) -> None:
        super().__init__()
        scale, shift = torch.ones(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
        mean, std = (
            torch.tensor(value or [0.0], dtype=torch.float64) for value in (processor.image_mean, processor.image_std)
        )
        if processor.do_rescale:
            scale = scale * processor.rescale_factor
            shift = shift - float(getattr(processor, "rescale_offset", None) or False)
        if processor.do_normalize:
            scale, shift = scale / std, (shift - mean) / std
        if getattr(processor, "include_top", None):  # EfficientNet's own: divide by the deviation once more
            scale, shift = scale / std, shift / std
        self.register_buffer("scale_C11", scale.float().reshape(3, 1, 1))
        self.register_buffer("shift_C11", shift.float().reshape(3, 1, 1))

    def forward(self, clips_XTHWC: Tensor, valid_X: Tensor) -> Tensor:
        """(X, T, 3, height, width) of pictures (X, T, height, width, 3) from 0 to 255; frames of the padding are not looked at later."""
        picture = clips_XTHWC.permute(0, 1, 4, 2, 3).to(self.scale_C11.dtype)
        pixels: Tensor = picture * self.scale_C11 + self.shift_C11
        return pixels


class PerFrame(nn.Module):
    """Apply modules to every picture of (X, T, ...) by itself."""

    def __init__(self, *modules: nn.Module) -> None:
        super().__init__()
        self.parts = nn.ModuleList(modules)

    def forward(self, hidden: Tensor) -> Tensor:
        """(X, T, ...)."""
        num_frames = hidden.shape[1]
        hidden = hidden.flatten(0, 1)
        for part in self.parts:
            hidden = part(hidden)
        result: Tensor = hidden.unflatten(0, (-1, num_frames))
        return result


class FrameEncoder(MediaEncoder):
    """What the three have in common."""

    kind: ClassVar[MediaKind] = "video"
    processor_class: str

    def pixels(self) -> Pixels:
        """The preprocessing of the checkpoint.

        Raises:
            ConfigError: the checkpoint does not say how pictures are normalised.
        """
        if not self.checkpoint.processor:
            raise ConfigError(
                f"'{self.pretrained}' holds no preprocessor_config.json, so how it wants its pixels is not known."
            )
        processor = getattr(require("transformers", "media"), self.processor_class)
        return Pixels(processor(**self.checkpoint.processor))

    @property
    def picture_px(self) -> tuple[int, int]:
        """Height and width."""
        assert isinstance(self.spec, VideoSpec)
        return self.spec.height_px, self.spec.width_px


# --- EfficientNet


class GlobalPool(nn.Module):
    """Mean (or maximum) over the whole picture, whatever its size."""

    def __init__(self, pooling_type: str) -> None:
        super().__init__()
        self.pooling_type = pooling_type

    def forward(self, hidden_FCHW: Tensor) -> Tensor:
        """(F, C)."""
        return hidden_FCHW.amax(dim=(2, 3)) if self.pooling_type == "max" else hidden_FCHW.mean(dim=(2, 3))


class EfficientNetEncoder(FrameEncoder):
    """EfficientNet (any size, Lite too): `pretrained: wheel:efficientnet-lite0` or a hub id such as google/efficientnet-b0.

    It is convolutional, so any size of picture goes. A block is a *stage*, the blocks of one width and resolution: "the top
    two blocks" is then about as large a part as of a transformer. The Lite models (the ones with ReLU6) have no
    squeeze-and-excite; what stands in its place in a folder of transformers is left out, so that it cannot be trained.
    """

    model_types = ("efficientnet",)
    processor_class = "EfficientNetImageProcessor"

    def classes(self) -> tuple[Any, Any]:
        """The model without its classifier."""
        transformers = require("transformers", "media")
        return transformers.EfficientNetConfig, transformers.EfficientNetModel

    def cut(self, model: Any) -> Trunk:
        """Each stage is a block."""
        if _is_lite(model.config):
            for block in model.encoder.blocks:
                block.squeeze_excite = nn.Identity()
        stages = [PerFrame(*stage) for stage in _stages(model.encoder.blocks)]
        top = model.encoder
        norm = PerFrame(top.top_conv, top.top_bn, top.top_activation, GlobalPool(model.config.pooling_type))
        return Trunk(self.pixels(), PerFrame(model.embeddings), stages, norm, model.config.hidden_dim)

    def check_loaded(self, model: Any) -> None:
        """See that what is left out of a Lite model changes nothing."""
        if not _is_lite(model.config):
            return
        for index, block in enumerate(model.encoder.blocks):
            gate = block.squeeze_excite.expand
            if gate.weight.any() or (torch.sigmoid(gate.bias) < 1).any():
                raise ConfigError(
                    f"'{self.pretrained}' has ReLU6 as EfficientNet-Lite does, but block {index} has a squeeze-and-excite that is "
                    "not open; such models are not supported."
                )


def _is_lite(config: Any) -> bool:
    return bool(config.hidden_act == "relu6")


def _stages(blocks: Sequence[Any]) -> list[list[nn.Module]]:
    """Blocks grouped so that each group starts where the width or the resolution changes."""
    stages: list[list[nn.Module]] = []
    for block in blocks:
        if block.projection.apply_dropout and stages:  # a residual block: same width, same resolution as the one before
            stages[-1].append(block)
        else:
            stages.append([block])
    return stages


# --- transformers over patches


class Patches(nn.Module):
    """Patch embeddings with positions, interpolated when the pictures have another size than the checkpoint's."""

    def __init__(self, embeddings: nn.Module, native: bool) -> None:
        super().__init__()
        self.embeddings = embeddings
        self.native = native

    def forward(self, picture_FCHW: Tensor) -> Tensor:
        """(F, 1 + patches, H)."""
        hidden: Tensor = self.embeddings(picture_FCHW, interpolate_pos_encoding=not self.native)
        return hidden


class ClassToken(nn.Module):
    """The first token, which stands for the whole picture."""

    def forward(self, hidden_FPH: Tensor) -> Tensor:
        """(F, H)."""
        return hidden_FPH[:, 0]


class PatchEncoder(FrameEncoder):
    """What ViT and CLIP have in common."""

    def patches(self, model: Any) -> Patches:
        """The embeddings for the clip's size.

        Raises:
            ConfigError: the picture is not divisible into patches.
        """
        patch = int(model.config.patch_size)
        height, width = self.picture_px
        if height % patch or width % patch:
            raise ConfigError(
                f"{type(self).__name__}.clip: pictures of {height} x {width} px cannot be cut into patches of {patch} px; "
                f"give multiples of {patch}, best {model.config.image_size}."
            )
        return Patches(model.embeddings, height == width == model.config.image_size)


class ViTEncoder(PatchEncoder):
    """ViT: `pretrained:` a hub id such as google/vit-base-patch16-224-in21k."""

    model_types = ("vit",)
    unused = ("pooler.",)
    processor_class = "ViTImageProcessor"

    def classes(self) -> tuple[Any, Any]:
        """The model; its pooler is not used."""
        transformers = require("transformers", "media")
        return transformers.ViTConfig, transformers.ViTModel

    def cut(self, model: Any) -> Trunk:
        """Each transformer layer is a block."""
        blocks = [PerFrame(Layer(layer)) for layer in model.layers]
        norm = PerFrame(ClassToken(), model.layernorm)
        return Trunk(self.pixels(), PerFrame(self.patches(model)), blocks, norm, model.config.hidden_size)


class CLIPVisionEncoder(PatchEncoder):
    """The vision half of CLIP: `pretrained:` a hub id such as openai/clip-vit-base-patch32."""

    model_types = ("clip", "clip_vision_model")
    processor_class = "CLIPImageProcessor"

    def classes(self) -> tuple[Any, Any]:
        """The vision model alone, without the projection to the space it shares with text."""
        transformers = require("transformers", "media")
        return transformers.CLIPVisionConfig, transformers.CLIPVisionModel

    @staticmethod
    def model_config(checkpoint: Checkpoint) -> dict[str, Any]:
        """The vision part."""
        vision: dict[str, Any] = checkpoint.config.get("vision_config", checkpoint.config)
        return vision

    def cut(self, model: Any) -> Trunk:
        """Each transformer layer is a block."""
        stem = PerFrame(self.patches(model), model.pre_layrnorm)
        blocks = [PerFrame(Layer(layer)) for layer in model.encoder.layers]
        norm = PerFrame(ClassToken(), model.post_layernorm)
        return Trunk(self.pixels(), stem, blocks, norm, model.config.hidden_size)
