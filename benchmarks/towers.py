"""The towers on one core: eager PyTorch beside ONNX Runtime in float32, int8 and fp16.

python benchmarks/towers.py                    # needs the extras export, media and weights
python benchmarks/towers.py BUNDLE             # also prints what the smaller towers of a bundle cost on validation

The user tower is that of `conf/train.yaml` (64 + 64 numbers an item, histories of 50), one user at a time. The audio tower is an
item tower whose one encoder is Whisper tiny.en with its weights, on clips of 4 s of the sample catalogue's sound. All run on one
thread, in turns, A B A B, after a turn that does not count: medians of CPU seconds, and of the ratios turn by turn. What the
smaller towers do to content vectors is told as the centred cosine with the float32 ones. A whole bundle's cost in Recall@20 is
measured when it is written: avrec export ckpt=... smaller=[int8,fp16].
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch

from avrec.bundle.session import OnnxGraph
from avrec.core.clips import AudioSpec
from avrec.core.files import read_json
from avrec.export.graph_files import export_onnx
from avrec.export.graphs import ItemTowerGraph, TowerGraph, UserTowerGraph
from avrec.export.half import write_half
from avrec.export.int8 import write_int8
from avrec.export.parity import torch_runner
from avrec.export.smaller import centred_cosine
from avrec.media.sample.catalogue import Catalogue
from avrec.models.encoders.checkpoint import read_checkpoint
from avrec.models.encoders.whisper import WhisperEncoder
from avrec.models.fusion.attention import AttentionFusion
from avrec.models.item_tower import ItemTower
from avrec.models.pooling import NormalizedSum, RefinedSum
from avrec.models.user_tower import UserTower

DIM, LENGTH, TURNS, SOUNDS = 64, 50, 15, 48
WHISPER = "wheel:whisper-tiny.en"
Arrays = dict[str, np.ndarray]


def sounds() -> np.ndarray:
    """(48, 1, S) clips of 4 s at 16 kHz from the sample catalogue."""
    catalogue, spec = Catalogue(seed=1, num_items=SOUNDS), AudioSpec()
    clips = []
    for index in range(SOUNDS):
        sound = catalogue.sound(index)
        step = sound.rate_hz // spec.sample_rate_hz
        clips.append(np.resize(sound.samples.mean(axis=1)[::step] / 32768, spec.num_samples))
    return np.stack(clips).astype(np.float32)[:, None]


def audio_tower(clips: np.ndarray) -> ItemTowerGraph:
    """Whisper with its weights below a fresh head, its steps standardised as training does it."""
    torch.manual_seed(0)
    encoder = WhisperEncoder(read_checkpoint(WHISPER), WHISPER, AudioSpec(), DIM)
    encoder.load_pretrained()
    with torch.no_grad():
        encoder.preprocess.learn(encoder.steps(torch.from_numpy(clips)).flatten(0, 1))
    return ItemTowerGraph(ItemTower({"audio": encoder}, AttentionFusion({"audio": DIM}), DIM))


def item_inputs(clips: np.ndarray) -> Arrays:
    """New items: a sound, and nothing that a table knows."""
    count = len(clips)
    none = {name: np.zeros((count, DIM), np.float32) for name in ("id_vector", "neighbour_vector")}
    none |= {name: np.zeros(count, np.float32) for name in ("bias", "evidence")}
    sound = {"clips_audio": clips, "valid_audio": np.ones((count, 1), np.float32)}
    return sound | {"mask_audio": np.ones(count, np.bool_)} | none


def user_tower() -> tuple[UserTowerGraph, Arrays]:
    """The default one, and one user with a full history."""
    torch.manual_seed(0)
    graph = UserTowerGraph(UserTower(DIM, DIM, NormalizedSum(0.5), RefinedSum(DIM, 0.5, hidden_dim=128), LENGTH))
    draw = np.random.default_rng(0)
    return graph, {
        "user_vector": draw.standard_normal((1, DIM)).astype(np.float32),
        "history_vectors": draw.standard_normal((1, LENGTH, 2 * DIM)).astype(np.float32),
        "weights": np.ones((1, LENGTH), np.float32),
        "ages": np.linspace(30, 0, LENGTH, dtype=np.float32)[None],
        "mask": np.ones((1, LENGTH), np.bool_),
    }


def session(path: Path, graph: TowerGraph) -> OnnxGraph:
    """One file in ONNX Runtime on one thread."""
    return OnnxGraph(path.read_bytes(), path, graph.inputs, graph.outputs)


def race(runners: Mapping[str, Callable[[], object]], calls: int = 1) -> dict[str, tuple[float, float]]:
    """{name: median CPU milliseconds of a call, median of the first one's time over its own}."""
    times: dict[str, list[float]] = {name: [] for name in runners}
    for turn in range(TURNS + 1):
        for name, run in runners.items():
            start = time.process_time()
            for _ in range(calls):
                run()
            if turn:
                times[name].append((time.process_time() - start) / calls)
    first = next(iter(times.values()))
    return {
        name: (1e3 * statistics.median(some), statistics.median(a / b for a, b in zip(first, some, strict=True)))
        for name, some in times.items()
    }


def show(title: str, found: Mapping[str, tuple[float, float]], bars: Mapping[str, float]) -> None:
    """One line a runner; `bars` are the speeds over eager that are asked for."""
    print(f"\n{title}")
    for name, (ms, speed) in found.items():
        bar = f", at least {bars[name]:.2f} is asked for" if name in bars else ""
        print(f"  {name:14} {ms:9.3f} ms   {speed:5.2f} x eager's speed{bar}")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", nargs="?", type=Path, help="a bundle with smaller towers")
    bundle = parser.parse_args().bundle
    torch.set_num_threads(1)
    print(
        f"PyTorch {torch.__version__}, ONNX Runtime {version('onnxruntime')}, one thread, CPU time, medians of {TURNS} turns"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        graph, call = user_tower()
        export_onnx(graph, folder / "user.onnx", {})
        eager, runtime = torch_runner(graph), session(folder / "user.onnx", graph)
        found = race({"eager": lambda: eager(call), "ONNX Runtime": lambda: runtime.run(call)}, calls=50)
        show("user tower, 1 user, history of 50 (1 ms is asked for)", found, {"ONNX Runtime": 1 / 0.7})
        race_audio(folder)
    if bundle is not None:
        print(f"\n{bundle}: {read_json(bundle / 'smaller.json')}")


def race_audio(folder: Path) -> None:
    """The audio tower in every form, one clip and eight at a time."""
    clips = sounds()
    graph = audio_tower(clips)
    whole = folder / "whole.onnx"
    export_onnx(graph, whole, {})
    write_int8(whole, folder / "int8.onnx")
    write_half(whole, folder / "fp16.onnx")
    forms = {name: session(folder / f"{name}.onnx", graph) for name in ("whole", "int8", "fp16")}
    eager = torch_runner(graph)
    for count in (1, 8):
        call = item_inputs(clips[:count])
        runners: dict[str, Callable[[], object]] = {"eager": lambda call=call: eager(call)}
        runners |= {name: lambda form=form, call=call: form.run(call) for name, form in forms.items()}
        show(f"audio tower, batch {count} (whole: float32)", race(runners), {"whole": 1.1, "int8": 2.2})
    call = item_inputs(clips)
    reference = eager(call)["history_vector"][:, DIM:]
    for name, form in forms.items():
        cosine = centred_cosine(reference, form.run(call)["history_vector"][:, DIM:])
        print(
            f"  {name:14} centred cosine with eager: mean {cosine.mean():.5f}, worst of {len(clips)} {cosine.min():.5f}"
        )


if __name__ == "__main__":
    main()
