"""Whisper at the clip's length beside Whisper padded to 30 s: time, likeness of the vectors, and what it does to retrieval.

python benchmarks/whisper_length.py FOLDER                       # sound files of any kind below FOLDER, 10 s of each
python benchmarks/whisper_length.py FOLDER --clip-sec 4

Both run on one thread, in turns, A B A B; medians of CPU seconds. The padded vectors are the mean over the tokens of the clip, as
Hugging Face's encoder gives them. Vectors are compared after centring over the files: raw ones share a large common direction.
Retrieval: half of each file's clip looks for its other half among all files, with sliced and with padded vectors; the numbers are
the share found first.
"""

import argparse
import os
import statistics
import sys
import time
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor
from torch.nn import functional

from avrec.core.clips import AudioSpec
from avrec.media.decode import decode
from avrec.media.problems import MediaError
from avrec.models.encoders.checkpoint import read_checkpoint
from avrec.models.encoders.whisper import WhisperEncoder


def read_sounds(folder: Path, clip_sec: float, most: int) -> Tensor:
    """(N, S) of the files that hold a whole clip; what is no sound is left out."""
    found = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            clips = decode(path, AudioSpec(clip_sec=clip_sec))
        except MediaError:
            continue
        if clips.valid[0] > 0.99:
            found.append(torch.from_numpy(clips.values[0]).float())
        if len(found) == most:
            break
    if len(found) < 5:
        raise SystemExit(f"{folder}: {len(found)} files hold {clip_sec} s of sound; at least 5 are needed.")
    return torch.stack(found)


def encoder_of(pretrained: str, clip_sec: float) -> WhisperEncoder:
    """With its weights, one step."""
    encoder = WhisperEncoder(read_checkpoint(pretrained), pretrained, AudioSpec(clip_sec=clip_sec), num_steps=1)
    encoder.load_pretrained()
    return encoder.eval()


@torch.no_grad()
def vectors(encoder: WhisperEncoder, sound_NS: Tensor) -> tuple[Tensor, float]:
    """(N, H), centred, and the median CPU seconds of a file; shorter sound is padded to the encoder's clip."""
    missing = encoder.spec.num_samples - sound_NS.shape[1]
    valid = torch.tensor([[sound_NS.shape[1] / encoder.spec.num_samples]])
    made, seconds = [], []
    for sound_S in sound_NS:
        begin = time.process_time()
        made.append(encoder.steps(functional.pad(sound_S, (0, missing))[None, None], valid)[0, 0])
        seconds.append(time.process_time() - begin)
    vector_NH = torch.stack(made)
    return vector_NH - vector_NH.mean(dim=0), statistics.median(seconds)


def found_first(query_NH: Tensor, target_NH: Tensor) -> float:
    """Share of rows whose own target is the nearest by cosine."""
    cosine_NN = functional.normalize(query_NH, dim=1) @ functional.normalize(target_NH, dim=1).T
    return (cosine_NN.argmax(dim=1) == torch.arange(len(query_NH))).float().mean().item()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clip-sec", type=float, default=10.0)
    parser.add_argument("--pretrained", default="wheel:whisper-tiny.en")
    parser.add_argument("--most", type=int, default=60, help="files at most")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    sound_NS = read_sounds(arguments.folder, arguments.clip_sec, arguments.most)
    sliced = encoder_of(arguments.pretrained, arguments.clip_sec)
    padded = encoder_of(arguments.pretrained, 30.0)
    times: dict[str, list[float]] = {"sliced": [], "padded": []}
    for _ in range(arguments.rounds):
        short_NH, seconds = vectors(sliced, sound_NS)
        times["sliced"].append(seconds)
        long_NH, seconds = vectors(padded, sound_NS)
        times["padded"].append(seconds)
    median = {name: statistics.median(values) for name, values in times.items()}
    likeness_N = functional.cosine_similarity(short_NH, long_NH, dim=1)

    half = sound_NS.shape[1] // 2 // 320 * 320
    first, second = sound_NS[:, :half], sound_NS[:, -half:]
    halves = encoder_of(arguments.pretrained, half / 16_000)
    found = {
        "sliced": found_first(vectors(halves, first)[0], vectors(halves, second)[0]),
        "padded": found_first(vectors(padded, first)[0], vectors(padded, second)[0]),
    }
    same_neighbour = (_nearest(short_NH) == _nearest(long_NH)).float().mean().item()

    print(
        f"torch {version('torch')}, transformers {version('transformers')}; {arguments.pretrained}; {len(sound_NS)} files"
    )
    print(f"| {arguments.clip_sec:g} s a clip | sliced | padded to 30 s | ratio |\n|---|---|---|---|")
    print(
        f"| CPU s a file | {median['sliced']:.3f} | {median['padded']:.3f} | {median['padded'] / median['sliced']:.1f} |"
    )
    print(f"| other half found first | {found['sliced']:.2f} | {found['padded']:.2f} | |")
    print(
        f"centred cosine sliced to padded: mean {likeness_N.mean():.3f}, least {likeness_N.min():.3f}; same nearest neighbour "
        f"{same_neighbour:.2f}"
    )


def _nearest(vector_NH: Tensor) -> Tensor:
    unit_NH = functional.normalize(vector_NH, dim=1)
    return (unit_NH @ unit_NH.T).fill_diagonal_(-1).argmax(dim=1)


if __name__ == "__main__":
    main()
