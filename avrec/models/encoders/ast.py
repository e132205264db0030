"""Audio Spectrogram Transformer at the clip's length.

Axes: X clips, S samples, R frames (10 ms), M mel bands, B bands and T columns of the grid of patches, H hidden width.

Gong et al. 2021, "AST: Audio spectrogram transformer". The model was trained on 10.24 s; here the positions of its first
columns are kept, so that 4 s of sound cost 4 s of patches.
"""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from avrec.core.clips import AudioSpec, MediaKind
from avrec.core.errors import ConfigError, require
from avrec.models.encoders.base import MediaEncoder, Trunk

PREEMPHASIS = 0.97
LOW_HZ = 20.0


class FilterBank(nn.Module):
    """The log filter bank of `ASTFeatureExtractor` (Kaldi's, 25 ms every 10 ms, without dither), so that it exports.

    Centring a frame, pre-emphasis, window and Fourier transform are all linear: together they are one convolution. Frames
    that reach behind the valid part of a clip are padding, zero before the normalisation, as the extractor pads.

    Args:
        extractor: an `ASTFeatureExtractor`.
    """

    basis_F1W: Tensor
    mel_MF: Tensor

    def __init__(self, extractor: Any) -> None:
        super().__init__()
        rate = int(extractor.sampling_rate)
        self.width, self.hop = rate * 25 // 1000, rate * 10 // 1000  # samples of a frame, and from one to the next
        transform = 1 << (self.width - 1).bit_length()
        self.register_buffer("basis_F1W", frame_basis(self.width, transform).float().unsqueeze(1))
        self.register_buffer("mel_MF", mel_bands(int(extractor.num_mel_bins), transform, rate).float())
        self.mean = float(extractor.mean) if extractor.do_normalize else 0.0
        self.scale = 2 * float(extractor.std) if extractor.do_normalize else 1.0

    def forward(self, clips_XS: Tensor, valid_X: Tensor) -> Tensor:
        """(X, R, M) of sound (X, S)."""
        parts_XFR = functional.conv1d(clips_XS.unsqueeze(1), self.basis_F1W, stride=self.hop)
        real_XFR, imaginary_XFR = parts_XFR.chunk(2, dim=1)
        energy_XMR = self.mel_MF @ (real_XFR.square() + imaginary_XFR.square())
        log_XRM = energy_XMR.clamp(min=torch.finfo(torch.float32).eps).log().transpose(1, 2)
        end_R = torch.arange(parts_XFR.shape[2], device=clips_XS.device) * self.hop + self.width
        mask_XR = end_R <= (valid_X * clips_XS.shape[1]).round().unsqueeze(1)
        padded_XRM = torch.where(mask_XR.unsqueeze(2), log_XRM, 0.0)
        return (padded_XRM - self.mean) / self.scale


def frame_basis(width: int, transform: int) -> Tensor:
    """The map (2F, W) of a frame to the real and imaginary parts of its spectrum."""
    eye = torch.eye(width, dtype=torch.float64)
    centred = eye - 1.0 / width
    before = torch.cat([centred[:1], centred[:-1]])  # the sample before; the first one again at the start
    window = torch.hann_window(width, periodic=False, dtype=torch.float64)
    shaped = window.unsqueeze(1) * (centred - PREEMPHASIS * before)
    angle = torch.outer(torch.arange(transform // 2 + 1.0), torch.arange(float(width))).double() * (
        2 * torch.pi / transform
    )
    return torch.cat([angle.cos(), -angle.sin()]) @ shaped


def mel_bands(num_bands: int, transform: int, rate: int) -> Tensor:
    """Kaldi's triangles (M, F), equally spaced and straight on the mel scale; the bin at half the rate is in none."""

    def mel(hertz: Tensor) -> Tensor:
        return 1127.0 * (1.0 + hertz / 700.0).log()

    edge = mel(torch.tensor([LOW_HZ, rate / 2], dtype=torch.float64))
    corner = torch.linspace(float(edge[0]), float(edge[1]), num_bands + 2, dtype=torch.float64).unsqueeze(1)
    place = mel(torch.arange(transform // 2 + 1, dtype=torch.float64) * rate / transform)
    rise = (place - corner[:-2]) / (corner[1:-1] - corner[:-2])
    fall = (corner[2:] - place) / (corner[2:] - corner[1:-1])
    bands = torch.minimum(rise, fall).clamp(min=0.0)
    bands[:, -1] = 0.0
    return bands


class PatchStem(nn.Module):
    """Patches of the spectrogram, two tokens that stand for all of it, and the positions of the clip's length.

    Args:
        embeddings: of an `ASTModel`.
        num_columns: T.
    """

    def __init__(self, embeddings: Any, num_columns: int) -> None:
        super().__init__()
        self.patches = embeddings.patch_embeddings
        self.tokens_12H = nn.Parameter(
            torch.cat([embeddings.cls_token.detach(), embeddings.distillation_token.detach()], dim=1)
        )
        num_bands, columns = embeddings.get_shape(embeddings.config)
        positions = embeddings.position_embeddings.detach()
        grid = positions[:, 2:].unflatten(1, (num_bands, columns))[:, :, :num_columns].flatten(1, 2)
        self.positions_1PH = nn.Parameter(torch.cat([positions[:, :2], grid], dim=1))

    def forward(self, features_XRM: Tensor) -> Tensor:
        """(X, 2 + B x T, H)."""
        hidden_XPH = self.patches(features_XRM)
        tokens_X2H = self.tokens_12H.expand(hidden_XPH.shape[0], -1, -1)
        return torch.cat([tokens_X2H, hidden_XPH], dim=1) + self.positions_1PH


class Columns(nn.Module):
    """The last norm, then the mean over the bands of each column of patches: tokens in time order.

    Args:
        norm: of the model.
        num_columns: T.
    """

    def __init__(self, norm: nn.Module, num_columns: int) -> None:
        super().__init__()
        self.norm = norm
        self.num_columns = num_columns

    def forward(self, hidden_XPH: Tensor) -> Tensor:
        """(X, T, H)."""
        grid_XBTH: Tensor = self.norm(hidden_XPH)[:, 2:].unflatten(1, (-1, self.num_columns))
        return grid_XBTH.mean(dim=1)


class ASTEncoder(MediaEncoder):
    """Audio Spectrogram Transformer: `pretrained:` a hub id such as MIT/ast-finetuned-audioset-10-10-0.4593."""

    kind: ClassVar[MediaKind] = "audio"
    model_types = ("audio-spectrogram-transformer",)

    def classes(self) -> tuple[Any, Any]:
        """The model without its classifier."""
        transformers = require("transformers", "media")
        return transformers.ASTConfig, transformers.ASTModel

    def cut(self, model: Any) -> Trunk:
        """Each transformer layer is a block."""
        extractor = require("transformers", "media").ASTFeatureExtractor.from_dict(dict(self.checkpoint.processor))
        bank = FilterBank(extractor)
        num_columns = self._num_columns(extractor, bank, model.config)
        return Trunk(
            bank,
            PatchStem(model.embeddings, num_columns),
            model.layers,
            Columns(model.layernorm, num_columns),
            model.config.hidden_size,
        )

    def _num_columns(self, extractor: Any, bank: FilterBank, config: Any) -> int:
        """Columns of patches of the clip, after comparing it with what the model takes."""
        assert isinstance(self.spec, AudioSpec)
        rate = self.spec.sample_rate_hz
        if rate != extractor.sampling_rate:
            raise ConfigError(
                f"ASTEncoder.clip.sample_rate_hz is {rate}; the checkpoint takes {extractor.sampling_rate}."
            )
        frames = (self.spec.num_samples - bank.width) // bank.hop + 1
        if not config.patch_size <= frames <= config.max_length:
            shortest, longest = (
                (count - 1) * bank.hop + bank.width for count in (config.patch_size, config.max_length)
            )
            raise ConfigError(
                f"ASTEncoder.clip.clip_sec is {self.spec.clip_sec}; expected {shortest / rate:g} to {longest / rate:g} s."
            )
        return int((frames - config.patch_size) // config.time_stride + 1)
