"""Pretrained encoders with tiny random weights, one maker a family; a new family adds its maker to `CASES`.

A maker takes the number of clips and gives an encoder and whatever else it was told; it writes nothing to the disk.
"""

from typing import Any

import pytest
import torch
import transformers

from avrec.core.clips import AudioSpec, VideoSpec
from avrec.models.encoders.ast import ASTEncoder
from avrec.models.encoders.base import MediaEncoder
from avrec.models.encoders.checkpoint import Checkpoint
from avrec.models.encoders.frames import CLIPVisionEncoder, EfficientNetEncoder, ViTEncoder
from avrec.models.encoders.videomae import VideoMAEEncoder
from avrec.models.encoders.wav2vec2 import HubertEncoder, Wav2Vec2Encoder
from avrec.models.encoders.whisper import WhisperEncoder

WHISPER = {
    "d_model": 16,
    "encoder_layers": 3,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 24,
    "num_mel_bins": 12,
    "max_source_positions": 150,
    "decoder_layers": 1,
    "decoder_ffn_dim": 16,
    "decoder_attention_heads": 2,
    "vocab_size": 32,
    "pad_token_id": 0,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "decoder_start_token_id": 0,
}
EFFICIENTNET = {
    "width_coefficient": 1.0,
    "depth_coefficient": 1.0,
    "depth_divisor": 4,
    "in_channels": [32, 8, 12],
    "out_channels": [8, 12, 16],
    "kernel_sizes": [3, 3, 5],
    "strides": [1, 2, 2],
    "num_block_repeats": [1, 2, 2],
    "expand_ratios": [1, 3, 3],
    "hidden_dim": 1280,
    "hidden_act": "swish",
}
VIT = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "image_size": 32,
    "patch_size": 8,
}
PIXELS = {
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.4, 0.5, 0.6],
    "image_std": [0.2, 0.3, 0.4],
}


def pixels(size: int) -> dict[str, Any]:
    """An image processor for pictures of one size."""
    return {
        **PIXELS,
        "size": {"height": size, "width": size},
        "do_center_crop": False,
        "do_resize": True,
        "include_top": False,
    }


def enliven(encoder: MediaEncoder, seed: int = 0) -> MediaEncoder:
    """Larger random weights and unlike batch norms: the usual initialisation of 0.02 gives nearly constant outputs."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in encoder.trunk.named_parameters():
        if value.ndim > 1 and name not in encoder.trunk.constants:
            value.data.normal_(0, value[0].numel() ** -0.5 * 1.5, generator=generator)
        elif value.ndim == 1:
            value.data.normal_(float(name.endswith("weight")), 0.1, generator=generator)
    for module in encoder.trunk.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
    with torch.no_grad():
        encoder.preprocess.learn(encoder.steps(media(encoder, 6, seed=9)).flatten(0, 1))
    return encoder


def whisper(num_clips: int = 1, num_steps: int = 4) -> MediaEncoder:
    config = transformers.WhisperConfig(**WHISPER).to_dict()
    processor = transformers.WhisperFeatureExtractor(feature_size=12, chunk_length=3).to_dict()
    processor.pop("mel_filters", None)
    clip = AudioSpec(clip_sec=0.48, num_clips=num_clips)
    return enliven(WhisperEncoder(Checkpoint(config, processor, "r"), "nowhere/whisper", clip, 8, num_steps))


def efficientnet(num_clips: int = 1, num_steps: int = 4, **changes: Any) -> MediaEncoder:
    config = transformers.EfficientNetConfig(**{**EFFICIENTNET, **changes}).to_dict()
    clip = VideoSpec(num_frames=5, height_px=24, width_px=32, num_clips=num_clips)
    checkpoint = Checkpoint(config, pixels(32), "r")
    return enliven(EfficientNetEncoder(checkpoint, "nowhere/efficientnet", clip, 8, num_steps))


def lite(num_clips: int = 1, num_steps: int = 4) -> MediaEncoder:
    return efficientnet(num_clips, num_steps, hidden_act="relu6")


def vit(num_clips: int = 1, num_steps: int = 4) -> MediaEncoder:
    config = transformers.ViTConfig(**VIT).to_dict()
    clip = VideoSpec(num_frames=5, height_px=32, width_px=32, num_clips=num_clips)
    return enliven(ViTEncoder(Checkpoint(config, pixels(32), "r"), "nowhere/vit", clip, 8, num_steps))


def clip_vision(num_clips: int = 1, num_steps: int = 4) -> MediaEncoder:
    """At another size of picture than the checkpoint's, so with interpolated positions."""
    config = transformers.CLIPConfig(vision_config=VIT).to_dict()
    clip = VideoSpec(num_frames=5, height_px=24, width_px=40, num_clips=num_clips)
    return enliven(CLIPVisionEncoder(Checkpoint(config, pixels(32), "r"), "nowhere/clip", clip, 8, num_steps))


WAVE = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 96,  # most of the memory shall be in the blocks
    "conv_dim": [2, 2, 4, 4, 8, 8, 8],
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
}


def wav2vec2(num_clips: int = 1, num_steps: int = 4) -> MediaEncoder:
    """As the large models are: layer norms between the convolutions and before each layer."""
    config = transformers.Wav2Vec2Config(**WAVE, do_stable_layer_norm=True, feat_extract_norm="layer").to_dict()
    checkpoint = Checkpoint(config, transformers.Wav2Vec2FeatureExtractor().to_dict(), "r")
    return enliven(
        Wav2Vec2Encoder(checkpoint, "nowhere/wav2vec2", AudioSpec(clip_sec=0.4, num_clips=num_clips), 8, num_steps)
    )


def hubert(num_clips: int = 1, num_steps: int = 4) -> MediaEncoder:
    """As the base models are: no norm at the end."""
    config = transformers.HubertConfig(**WAVE).to_dict()
    checkpoint = Checkpoint(config, transformers.Wav2Vec2FeatureExtractor().to_dict(), "r")
    return enliven(
        HubertEncoder(checkpoint, "nowhere/hubert", AudioSpec(clip_sec=0.4, num_clips=num_clips), 8, num_steps)
    )


def ast(num_clips: int = 1, num_steps: int = 4) -> MediaEncoder:
    sizes = {
        name: VIT[name] for name in ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    }
    config = transformers.ASTConfig(**sizes, num_mel_bins=32, max_length=120).to_dict()
    processor = {"num_mel_bins": 32, "std": 0.5}  # loud and soft shall differ for random weights too
    clip = AudioSpec(clip_sec=0.9, num_clips=num_clips)
    return enliven(ASTEncoder(Checkpoint(config, processor, "r"), "nowhere/ast", clip, 8, num_steps))


def videomae(num_clips: int = 1, num_steps: int = 4) -> MediaEncoder:
    config = transformers.VideoMAEConfig(**VIT, num_frames=12, use_mean_pooling=False).to_dict()
    clip = VideoSpec(num_frames=10, height_px=32, width_px=32, num_clips=num_clips)
    return enliven(VideoMAEEncoder(Checkpoint(config, pixels(32), "r"), "nowhere/videomae", clip, 8, num_steps))


CASES = [
    pytest.param(whisper, id="whisper"),
    pytest.param(efficientnet, id="efficientnet"),
    pytest.param(lite, id="efficientnet-lite"),
    pytest.param(vit, id="vit"),
    pytest.param(clip_vision, id="clip"),
    pytest.param(wav2vec2, id="wav2vec2"),
    pytest.param(hubert, id="hubert"),
    pytest.param(ast, id="ast"),
    pytest.param(videomae, id="videomae"),
]


def media(encoder: MediaEncoder, num_items: int = 3, seed: int = 0) -> torch.Tensor:
    """Random sound or pictures for an encoder: every stretch of time is unlike the others in its loudness or colour."""
    generator = torch.Generator().manual_seed(seed)
    shape = (num_items, *encoder.spec.shape)
    if encoder.kind == "video":
        colour = torch.rand(*shape[:3], 1, 1, 3, generator=generator) * 200
        return (colour + torch.rand(shape, generator=generator) * 55).to(torch.uint8)
    loudness = torch.linspace(0.2, 1.0, shape[-1]) ** 2
    return torch.randn(shape, generator=generator) * loudness * 0.3
