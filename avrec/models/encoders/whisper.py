"""Whisper's encoder at the clip's length: four seconds of sound cost four seconds of tokens, not thirty.

Axes: X clips, S samples, M mel bands, R mel frames (10 ms), T = R / 2 tokens (20 ms), H hidden width.

Radford et al. 2023, "Robust speech recognition via large-scale weak supervision". The model was trained on clips padded to
30 s; here the positions are sliced to the clip instead.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from avrec.core.clips import AudioSpec, MediaKind
from avrec.core.errors import ConfigError, require
from avrec.models.encoders.base import MediaEncoder, Trunk
from avrec.models.encoders.layer import Layer


class LogMel(nn.Module):
    """The log-mel spectrogram of `WhisperFeatureExtractor` as a convolution with a windowed Fourier basis, so that it exports.

    The floor lies 8 decades below the loudest value *of the clip*: each clip is scaled by itself.

    Args:
        extractor: a `WhisperFeatureExtractor`.
    """

    basis_F1W: Tensor
    mel_MF: Tensor

    def __init__(self, extractor: Any) -> None:
        super().__init__()
        width = int(extractor.n_fft)
        self.hop = int(extractor.hop_length)
        angle_FW = torch.outer(torch.arange(width // 2 + 1.0), torch.arange(float(width))).double() * (
            2 * torch.pi / width
        )
        basis = torch.cat([angle_FW.cos(), angle_FW.sin()]) * torch.hann_window(width, dtype=torch.float64)
        self.register_buffer("basis_F1W", basis.float().unsqueeze(1))
        self.register_buffer("mel_MF", torch.tensor(extractor.mel_filters.T, dtype=torch.float32))

    def forward(self, clips_XS: Tensor, valid_X: Tensor) -> Tensor:
        """(X, M, R) of sound (X, S); the padding is silence already, so `valid_X` changes nothing."""
        half = self.basis_F1W.shape[2] // 2
        padded_X1S = functional.pad(clips_XS.unsqueeze(1), (half, half), mode="reflect")
        parts = functional.conv1d(padded_X1S, self.basis_F1W, stride=self.hop)[..., :-1]
        real, imaginary = parts.chunk(2, dim=1)
        log_XMR = (self.mel_MF @ (real.square() + imaginary.square())).clamp(min=1e-10).log10()
        floor_X11 = log_XMR.amax(dim=(1, 2), keepdim=True) - 8.0
        return (torch.maximum(log_XMR, floor_X11) + 4.0) / 4.0


class Stem(nn.Module):
    """Two convolutions and the positions of the clip's length."""

    def __init__(self, model: Any, num_tokens: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = model.conv1, model.conv2
        self.positions_TH = nn.Parameter(
            model.embed_positions.weight.detach()[:num_tokens].clone(), requires_grad=False
        )

    def forward(self, mel_XMR: Tensor) -> Tensor:
        """(X, T, H)."""
        hidden_XHR = functional.gelu(self.conv1(mel_XMR))
        hidden_XHT = functional.gelu(self.conv2(hidden_XHR))
        return hidden_XHT.transpose(1, 2) + self.positions_TH


class WhisperEncoder(MediaEncoder):
    """Whisper (any size): `pretrained: wheel:whisper-tiny.en` or a hub id such as openai/whisper-tiny."""

    kind: ClassVar[MediaKind] = "audio"
    model_types = ("whisper",)
    key_mapping: ClassVar[Mapping[str, str]] = {r"^(model\.)?encoder\.": ""}

    def classes(self) -> tuple[Any, Any]:
        """Only the encoder is built."""
        transformers = require("transformers", "media")
        return transformers.WhisperConfig, require(
            "transformers.models.whisper.modeling_whisper", "media"
        ).WhisperEncoder

    def cut(self, model: Any) -> Trunk:
        """Each transformer layer is a block."""
        extractor = require("transformers", "media").WhisperFeatureExtractor.from_dict(dict(self.checkpoint.processor))
        assert isinstance(self.spec, AudioSpec)
        samples = _samples_of_a_token(self.spec, extractor, model.config.max_source_positions)
        stem = Stem(model, self.spec.num_samples // samples)
        blocks = [Layer(layer) for layer in model.layers]
        return Trunk(LogMel(extractor), stem, blocks, model.layer_norm, model.config.d_model)


def _samples_of_a_token(clip: AudioSpec, extractor: Any, max_tokens: int) -> int:
    """Samples of one token, after comparing the clip with what the model takes."""
    if clip.sample_rate_hz != extractor.sampling_rate:
        raise ConfigError(
            f"WhisperEncoder.clip.sample_rate_hz is {clip.sample_rate_hz}; the checkpoint takes {extractor.sampling_rate}."
        )
    samples = 2 * int(extractor.hop_length)
    if clip.num_samples % samples or not 2 * samples <= clip.num_samples <= samples * max_tokens:
        raise ConfigError(
            f"WhisperEncoder.clip.clip_sec is {clip.clip_sec}; expected a multiple of {samples / clip.sample_rate_hz} s, at most "
            f"{samples * max_tokens / clip.sample_rate_hz:g} s."
        )
    return samples
