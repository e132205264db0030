"""What an encoder costs before anything is known of its quality: size, time and memory for an item, one thread of a CPU.

python benchmarks/encoder_costs.py                          # all of them, at their published sizes
python benchmarks/encoder_costs.py whisper-small ast-base

The weights are random, which changes no time and no memory; nothing is downloaded. `encode` is what an item costs once, for a cache
that is read ever after; `train` is forward and backward with the last two blocks free, from the media each time. Peak memory is that of a
process that trains a batch of four, without the 400 MiB or so that an idle one holds. Clips are those of `conf/encoder/`.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
import transformers

from avrec.core.clips import AudioSpec, VideoSpec
from avrec.models.encoders.ast import ASTEncoder
from avrec.models.encoders.base import RAW, MediaEncoder
from avrec.models.encoders.checkpoint import Checkpoint
from avrec.models.encoders.frames import CLIPVisionEncoder, EfficientNetEncoder, ViTEncoder
from avrec.models.encoders.videomae import VideoMAEEncoder
from avrec.models.encoders.wav2vec2 import HubertEncoder, Wav2Vec2Encoder
from avrec.models.encoders.whisper import WhisperEncoder

SOUND = AudioSpec(sample_rate_hz=16000, clip_sec=4.0, num_clips=1)
SMALL_FRAMES = VideoSpec(num_frames=8, height_px=128, width_px=128)
FRAMES = VideoSpec(num_frames=8, height_px=224, width_px=224)
TUBES = VideoSpec(num_frames=16, height_px=224, width_px=224)
BATCH, TURNS = 4, 3
PIXELS = {  # scaled to one side, as a processor of pictures says it
    "do_resize": True,
    "size": {"height": 224, "width": 224},
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5] * 3,
    "image_std": [0.5] * 3,
}


def whisper(width: int, layers: int, heads: int) -> Any:
    """The published sizes of Whisper's encoder."""
    return transformers.WhisperConfig(
        d_model=width, encoder_layers=layers, encoder_attention_heads=heads, encoder_ffn_dim=4 * width, decoder_layers=1
    )


FAMILIES: Mapping[str, tuple[type[MediaEncoder], Any, AudioSpec | VideoSpec]] = {
    "whisper-tiny": (WhisperEncoder, whisper(384, 4, 6), SOUND),
    "whisper-base": (WhisperEncoder, whisper(512, 6, 8), SOUND),
    "whisper-small": (WhisperEncoder, whisper(768, 12, 12), SOUND),
    "wav2vec2-base": (Wav2Vec2Encoder, transformers.Wav2Vec2Config(), SOUND),
    "hubert-base": (HubertEncoder, transformers.HubertConfig(), SOUND),
    "ast-base": (ASTEncoder, transformers.ASTConfig(), SOUND),
    "efficientnet-b0, 128 px": (EfficientNetEncoder, "b0", SMALL_FRAMES),
    "efficientnet-b0, 224 px": (EfficientNetEncoder, "b0", FRAMES),
    "clip-vit-base-patch32": (CLIPVisionEncoder, transformers.CLIPVisionConfig(), FRAMES),
    "vit-base-patch16": (ViTEncoder, transformers.ViTConfig(), FRAMES),
    "videomae-base": (VideoMAEEncoder, transformers.VideoMAEConfig(), TUBES),
}


def build(name: str) -> MediaEncoder:
    """An encoder of the published size, with random weights."""
    encoder_class, config, clip = FAMILIES[name]
    if config == "b0":
        config = transformers.EfficientNetConfig(
            image_size=224, width_coefficient=1.0, depth_coefficient=1.0, hidden_dim=1280, dropout_rate=0.2
        )
    processor = PIXELS if isinstance(clip, VideoSpec) else {}
    return encoder_class(Checkpoint(config.to_dict(), processor, ""), name, clip)


def measure(name: str) -> dict[str, float]:
    """One row, in a process of its own."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    idle_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    encoder = build(name)
    shape = (BATCH, *encoder.spec.shape)
    media = torch.randn(shape) * 0.1 if encoder.kind == "audio" else torch.randint(0, 256, shape, dtype=torch.uint8)

    @torch.no_grad()
    def encode() -> None:
        encoder.encode(media, RAW, encoder.pooled_level)

    def train() -> None:
        encoder(encoder.steps(media)).sum().backward()

    found = {"encode_ms": cpu_ms(encode)}
    encoder.set_trainable(2)
    encoder.train()
    found["train_ms"] = cpu_ms(train)
    found["parameters"] = sum(value.numel() for value in encoder.trunk.parameters())
    found["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - idle_mib
    return found


def cpu_ms(call: Any) -> float:
    """Median CPU milliseconds for an item, after one call that warms up."""
    call()
    taken = []
    for _ in range(TURNS):
        begin = time.process_time()
        call()
        taken.append((time.process_time() - begin) * 1000 / BATCH)
    return statistics.median(taken)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=f"among {', '.join(FAMILIES)}")
    parser.add_argument("--row", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.row:
        print(json.dumps(measure(arguments.row)))
        return
    print(f"torch {version('torch')}, transformers {version('transformers')}")
    print("| encoder | clip | parameters | float32 weights, MiB | encode, ms | train two blocks, ms | peak MiB |")
    print("|---|---|---|---|---|---|---|")
    for name in arguments.names or FAMILIES:
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        command = [sys.executable, __file__, "--row", name]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        if done.returncode:
            sys.exit(done.stderr)
        row = json.loads(done.stdout.splitlines()[-1])
        clip = FAMILIES[name][2]
        said = f"{clip.clip_sec:g} s" if isinstance(clip, AudioSpec) else f"{clip.num_frames} x {clip.height_px} px"
        print(
            f"| {name} | {said} | {row['parameters'] / 1e6:.1f} M | {row['parameters'] * 4 / 2**20:.0f} "
            f"| {row['encode_ms']:.0f} | {row['train_ms']:.0f} | {row['peak_mib']:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
