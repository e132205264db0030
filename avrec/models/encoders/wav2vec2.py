"""wav2vec 2.0 and HuBERT: transformers over a convolution of the waveform itself.

Axes: X clips, S samples, T tokens (20 ms), H hidden width.

Baevski et al. 2020, "wav2vec 2.0: A framework for self-supervised learning of speech representations"; Hsu et al. 2021,
"HuBERT: Self-supervised speech representation learning by masked prediction of hidden units".

No attention mask is passed on: tokens of the padding at a clip's end are seen as silence. That is how the base models were
trained; the large ones (`feat_extract_norm: layer`) were trained with a mask, so give them clips that files can fill.
"""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from avrec.core.clips import AudioSpec, MediaKind
from avrec.core.errors import ConfigError, require
from avrec.models.encoders.base import MediaEncoder, Trunk


class UnitVariance(nn.Module):
    """Zero mean and unit variance of the valid part of each clip, zero behind it, as `Wav2Vec2FeatureExtractor` does it.

    Args:
        extractor: a `Wav2Vec2FeatureExtractor`.
    """

    def __init__(self, extractor: Any) -> None:
        super().__init__()
        self.normalise = bool(extractor.do_normalize)

    def forward(self, clips_XS: Tensor, valid_X: Tensor) -> Tensor:
        """(X, S) of sound (X, S)."""
        num_samples = clips_XS.shape[1]
        real_X1 = (valid_X * num_samples).round().clamp(min=1.0).unsqueeze(1)
        mask_XS = (torch.arange(num_samples, device=clips_XS.device) < real_X1).to(clips_XS.dtype)
        if not self.normalise:
            return clips_XS * mask_XS
        mean_X1 = (clips_XS * mask_XS).sum(dim=1, keepdim=True) / real_X1
        centred_XS = (clips_XS - mean_X1) * mask_XS
        variance_X1 = centred_XS.square().sum(dim=1, keepdim=True) / real_X1
        return centred_XS / (variance_X1 + 1e-7).sqrt()


class WaveStem(nn.Module):
    """The convolutions, the projection to H, and the positions, which are a convolution too.

    Args:
        model: a `Wav2Vec2Model` or `HubertModel`; the weight norm of its positions is folded into plain weights.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.convolutions = model.feature_extractor.conv_layers
        self.projection = model.feature_projection
        self.positions = model.encoder.pos_conv_embed
        # The models with the norm before each layer have their last norm at the end of all layers instead of here.
        self.norm: nn.Module = nn.Identity() if model.config.do_stable_layer_norm else model.encoder.layer_norm
        if parametrize.is_parametrized(self.positions.conv):
            parametrize.remove_parametrizations(self.positions.conv, "weight")

    def forward(self, wave_XS: Tensor) -> Tensor:
        """(X, T, H)."""
        hidden = wave_XS.unsqueeze(1)
        for convolution in self.convolutions:
            hidden = convolution(hidden)
        projected = self.projection(hidden.transpose(1, 2))
        hidden_XTH = projected[0] if isinstance(projected, tuple) else projected
        normed: Tensor = self.norm(hidden_XTH + self.positions(hidden_XTH))
        return normed


class Wav2Vec2Encoder(MediaEncoder):
    """wav2vec 2.0: `pretrained:` a hub id such as facebook/wav2vec2-base-960h."""

    kind: ClassVar[MediaKind] = "audio"
    model_types = ("wav2vec2",)
    unused = ("masked_spec_embed",)  # of pretraining

    def classes(self) -> tuple[Any, Any]:
        """The model without the heads of pretraining and of speech recognition."""
        transformers = require("transformers", "media")
        return transformers.Wav2Vec2Config, transformers.Wav2Vec2Model

    def cut(self, model: Any) -> Trunk:
        """Each transformer layer is a block."""
        extractor = require("transformers", "media").Wav2Vec2FeatureExtractor.from_dict(dict(self.checkpoint.processor))
        self._check_clip(extractor, model.config)
        norm = model.encoder.layer_norm if model.config.do_stable_layer_norm else nn.Identity()
        return Trunk(UnitVariance(extractor), WaveStem(model), model.encoder.layers, norm, model.config.hidden_size)

    def _check_clip(self, extractor: Any, config: Any) -> None:
        assert isinstance(self.spec, AudioSpec)
        if self.spec.sample_rate_hz != extractor.sampling_rate:
            raise ConfigError(
                f"{type(self).__name__}.clip.sample_rate_hz is {self.spec.sample_rate_hz}; the checkpoint takes "
                f"{extractor.sampling_rate}."
            )
        needed = 1
        for kernel, stride in reversed(list(zip(config.conv_kernel, config.conv_stride, strict=True))):
            needed = (needed - 1) * stride + kernel
        if self.spec.num_samples < needed:
            raise ConfigError(
                f"{type(self).__name__}.clip.clip_sec is {self.spec.clip_sec}; expected at least "
                f"{needed / self.spec.sample_rate_hz:g} s, which one token hears."
            )


class HubertEncoder(Wav2Vec2Encoder):
    """HuBERT: `pretrained:` a hub id such as facebook/hubert-base-ls960. It is cut as wav2vec 2.0 is."""

    model_types = ("hubert",)

    def classes(self) -> tuple[Any, Any]:
        """The model without the head of speech recognition."""
        transformers = require("transformers", "media")
        return transformers.HubertConfig, transformers.HubertModel
