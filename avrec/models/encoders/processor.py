"""The processor of transformers that does with a clip what an encoder's own preprocessing does.

A clip comes as the encoder's spec cuts it out, so the processor neither cuts nor pads nor resizes it.
"""

from functools import singledispatch
from typing import Any, cast

from avrec.core.clips import AudioSpec, VideoSpec
from avrec.core.errors import require
from avrec.models.encoders.ast import ASTEncoder, FilterBank
from avrec.models.encoders.base import MediaEncoder
from avrec.models.encoders.frames import FrameEncoder
from avrec.models.encoders.wav2vec2 import Wav2Vec2Encoder
from avrec.models.encoders.whisper import WhisperEncoder


@singledispatch
def processor_of(encoder: MediaEncoder) -> Any:
    """Made for one encoder; `save_pretrained` and the Auto classes of transformers take it.

    Raises:
        NotImplementedError: an encoder of a family that this module does not know.
    """
    raise NotImplementedError(f"no processor is known for {type(encoder).__name__}")


@processor_of.register
def _(encoder: WhisperEncoder) -> Any:
    assert isinstance(encoder.spec, AudioSpec)
    settings = dict(encoder.checkpoint.processor)
    whole_sec = encoder.spec.num_samples // encoder.spec.sample_rate_hz  # it pads to whole seconds unless told not to
    if whole_sec * encoder.spec.sample_rate_hz == encoder.spec.num_samples:
        settings["chunk_length"] = whole_sec
    return require("transformers", "media").WhisperFeatureExtractor.from_dict(settings)


@processor_of.register
def _(encoder: ASTEncoder) -> Any:
    assert isinstance(encoder.spec, AudioSpec)
    bank = cast(FilterBank, encoder.trunk.preprocess)
    frames = (encoder.spec.num_samples - bank.width) // bank.hop + 1
    settings = {**encoder.checkpoint.processor, "max_length": frames}
    return require("transformers", "media").ASTFeatureExtractor.from_dict(settings)


@processor_of.register
def _(encoder: Wav2Vec2Encoder) -> Any:
    settings = {**encoder.checkpoint.processor, "return_attention_mask": True}  # so that padding counts in no mean
    return require("transformers", "media").Wav2Vec2FeatureExtractor.from_dict(settings)


@processor_of.register
def _(encoder: FrameEncoder) -> Any:
    assert isinstance(encoder.spec, VideoSpec)
    size = {"height": encoder.spec.height_px, "width": encoder.spec.width_px}
    settings = {
        **encoder.checkpoint.processor,
        "do_resize": True,
        "size": size,
        "do_center_crop": False,
        "crop_size": size,
    }
    return getattr(require("transformers", "media"), encoder.processor_class)(**settings)
