"""VideoMAE: a transformer over tubelets, which sees motion where frame encoders see pictures.

Axes: X clips, T frames, U tubelets (of two frames), P patches of a tubelet, H hidden width.

Tong et al. 2022, "VideoMAE: Masked autoencoders are data-efficient learners for self-supervised video pre-training".
"""

from typing import Any

import torch
from torch import Tensor, nn

from avrec.core.clips import VideoSpec
from avrec.core.errors import ConfigError, require
from avrec.models.encoders.base import Trunk
from avrec.models.encoders.frames import FrameEncoder


class TubeletStem(nn.Module):
    """Patches of tubelets with their fixed positions.

    Args:
        patches: of a `VideoMAEModel`.
        positions_PH: one for each patch of the clip.
    """

    positions_PH: Tensor

    def __init__(self, patches: nn.Module, positions_PH: Tensor) -> None:
        super().__init__()
        self.patches = patches
        self.register_buffer("positions_PH", positions_PH)

    def forward(self, pixels_XTCHW: Tensor) -> Tensor:
        """(X, U x P, H)."""
        hidden: Tensor = self.patches(pixels_XTCHW) + self.positions_PH
        return hidden


def sinusoids(num_positions: int, dim: int) -> Tensor:
    """Positions (P, H): sines in the even places and cosines in the odd ones (Vaswani et al. 2017, section 3.5)."""
    place_P1 = torch.arange(num_positions, dtype=torch.float64).unsqueeze(1)
    pair_H = torch.arange(dim, dtype=torch.float64) // 2
    angle_PH = place_P1 / 10_000.0 ** (2 * pair_H / dim)
    even_H = torch.arange(dim) % 2 == 0
    return torch.where(even_H, angle_PH.sin(), angle_PH.cos()).float()


class Tubelets(nn.Module):
    """The last norm, where there is one, then the mean over the picture of each tubelet: tokens in time order.

    Args:
        norm: of the model.
        num_tubelets: U.
    """

    def __init__(self, norm: nn.Module, num_tubelets: int) -> None:
        super().__init__()
        self.norm = norm
        self.num_tubelets = num_tubelets

    def forward(self, hidden_XPH: Tensor) -> Tensor:
        """(X, U, H)."""
        tubelets_XUPH: Tensor = self.norm(hidden_XPH).unflatten(1, (self.num_tubelets, -1))
        return tubelets_XUPH.mean(dim=2)


class VideoMAEEncoder(FrameEncoder):
    """VideoMAE: `pretrained:` a hub id such as MCG-NJU/videomae-base; `clip` has its frames (16) and its picture (224 px)."""

    model_types = ("videomae",)
    processor_class = "VideoMAEImageProcessor"

    def classes(self) -> tuple[Any, Any]:
        """The model without decoder and classifier."""
        transformers = require("transformers", "media")
        return transformers.VideoMAEConfig, transformers.VideoMAEModel

    def cut(self, model: Any) -> Trunk:
        """Each transformer layer is a block."""
        config = model.config
        num_tubelets = self._num_tubelets(config)
        num_patches = num_tubelets * (config.image_size // config.patch_size) ** 2
        # Positions count through the whole clip, tubelet by tubelet: a shorter clip has the first of them.
        stem = TubeletStem(model.embeddings.patch_embeddings, sinusoids(num_patches, config.hidden_size))
        norm = Tubelets(model.layernorm or nn.Identity(), num_tubelets)
        return Trunk(self.pixels(), stem, model.encoder.layer, norm, config.hidden_size)

    def _num_tubelets(self, config: Any) -> int:
        """Tubelets of the clip, after comparing it with what the model takes."""
        assert isinstance(self.spec, VideoSpec)
        if self.picture_px != (config.image_size, config.image_size):
            height, width = self.picture_px
            raise ConfigError(
                f"VideoMAEEncoder.clip: pictures of {height} x {width} px; the checkpoint takes {config.image_size} x "
                f"{config.image_size}."
            )
        frames = self.spec.num_frames
        if frames % config.tubelet_size or frames > config.num_frames:
            raise ConfigError(
                f"VideoMAEEncoder.clip.num_frames is {frames}; expected a multiple of {config.tubelet_size}, at most "
                f"{config.num_frames}."
            )
        return int(frames // config.tubelet_size)
