"""Whisper tiny.en as a CTranslate2 file (float16) to a folder of transformers (float32)."""

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from avrec.core.errors import require

WIDTH = 384
_DTYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
_HALVES = {
    "self_attention/linear_0": ("self_attn", ("q_proj", "k_proj", "v_proj")),
    "self_attention/linear_1": ("self_attn", ("out_proj",)),
    "attention/linear_0": ("encoder_attn", ("q_proj",)),
    "attention/linear_1": ("encoder_attn", ("k_proj", "v_proj")),
    "attention/linear_2": ("encoder_attn", ("out_proj",)),
}
_NORMS = {
    "self_attention/layer_norm": "self_attn_layer_norm",
    "attention/layer_norm": "encoder_attn_layer_norm",
    "ffn/layer_norm": "final_layer_norm",
}
_PLAIN = {
    "position_encodings/encodings": "embed_positions.weight",
    "embeddings/weight": "embed_tokens.weight",
    "conv1/weight": "conv1.weight",
    "conv1/bias": "conv1.bias",
    "conv2/weight": "conv2.weight",
    "conv2/bias": "conv2.bias",
    "layer_norm/gamma": "layer_norm.weight",
    "layer_norm/beta": "layer_norm.bias",
}
_KIND = {"gamma": "weight", "beta": "bias", "weight": "weight", "bias": "bias"}


def convert(source: Path, folder: Path) -> None:
    """Write config, feature extractor and weights; the decoder comes along, so that the folder is a whole Whisper model."""
    transformers = require("transformers", "media")
    safetensors = require("safetensors.torch", "media")
    weights: dict[str, Tensor] = {}
    for name, array in read_variables(source.read_bytes()):
        if array.ndim:  # the rest are settings
            weights.update(_renamed(name, torch.from_numpy(array.astype(np.float32))))
    safetensors.save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    transformers.WhisperConfig(**_CONFIG).save_pretrained(folder)
    transformers.WhisperFeatureExtractor(feature_size=80).save_pretrained(folder)


_CONFIG = {
    "architectures": ["WhisperForConditionalGeneration"],
    "vocab_size": 51864,
    "d_model": WIDTH,
    "encoder_layers": 4,
    "decoder_layers": 4,
    "encoder_attention_heads": 6,
    "decoder_attention_heads": 6,
    "encoder_ffn_dim": 1536,
    "decoder_ffn_dim": 1536,
    "num_mel_bins": 80,
    "max_source_positions": 1500,
    "max_target_positions": 448,
    "activation_function": "gelu",
    "scale_embedding": False,
    "pad_token_id": 50256,
    "bos_token_id": 50256,
    "eos_token_id": 50256,
    "decoder_start_token_id": 50257,
    "begin_suppress_tokens": [220, 50256],
    "suppress_tokens": None,
}


def read_variables(data: bytes) -> Iterator[tuple[str, np.ndarray]]:
    """Names and arrays of a CTranslate2 file: strings are length (with the final zero), bytes; all little-endian."""
    offset = 0

    def number(form: str) -> int:
        nonlocal offset
        (value,) = struct.unpack_from(f"<{form}", data, offset)
        offset += struct.calcsize(form)
        return int(value)

    def text() -> str:
        nonlocal offset
        length = number("H")
        offset += length
        return data[offset - length : offset - 1].decode()

    number("I"), text(), number("I")  # binary version, name and revision of the specification
    for _ in range(number("I")):
        name = text()
        shape = [number("I") for _ in range(number("B"))]
        dtype = np.dtype(_DTYPES[number("B")])
        length = number("I")
        yield name, np.frombuffer(data, dtype, length // dtype.itemsize, offset).reshape(shape)
        offset += length
    for _ in range(number("I")):
        text(), text()  # an alias and what it stands for: the output projection is the embedding
    assert offset == len(data), "a CTranslate2 file ends with its aliases"


def _renamed(name: str, value: Tensor) -> dict[str, Tensor]:
    side, _, rest = name.partition("/")
    prefix = f"model.{side}."
    if rest in _PLAIN:
        return {prefix + _PLAIN[rest]: value}
    layer, _, rest = rest.partition("/")
    prefix += f"layers.{layer.removeprefix('layer_')}."
    part, _, kind = rest.rpartition("/")
    kind = _KIND[kind]
    if part in _NORMS:
        return {f"{prefix}{_NORMS[part]}.{kind}": value}
    if part.startswith("ffn/linear_"):
        return {f"{prefix}fc{int(part[-1]) + 1}.{kind}": value}
    attention, projections = _HALVES[part]
    made = dict(zip(projections, value.chunk(len(projections)), strict=True))
    if kind == "bias" and "k_proj" in made:  # Whisper's keys have no bias
        assert not made.pop("k_proj").any()
    return {f"{prefix}{attention}.{projection}.{kind}": half.contiguous() for projection, half in made.items()}
