"""Pictures out of videos: avrec's read plan beside decord2 and PyAV used plainly, and keyframes beside the faster of them.

python benchmarks/decode.py ../shared/media/video
python benchmarks/decode.py FOLDER --frames 8 --pixels 224 --turns 9 --decoder decord

Every reader opens the file, reads `--frames` pictures at the middles of equal parts and scales them to `--pixels` squared, on
one thread, in turns with the others. decord2: `VideoReader(..., width, height, num_threads=1).get_batch`. PyAV: decoding from
the start to the last picture wanted. avrec plans by packets and reads by `--decoder`. Ratios are medians of CPU seconds over
turns; those on the clock stand beside them. Before anything is timed, the pictures are compared: a reader that shows others
would not run the same race.
"""

import argparse
import statistics
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import av
import numpy as np
from pairs import in_turns, machine, medians

from avrec.core.clips import VideoSpec
from avrec.media.container import open_container
from avrec.media.decode import decode
from avrec.media.decord_library import load_decord
from avrec.media.plan import list_pictures
from avrec.media.probe import describe
from avrec.media.problems import MediaError
from avrec.media.stream import StreamReader


def with_decord(path: Path, index: int, count: int, frames: int, pixels: int) -> np.ndarray:
    """What its documentation shows."""
    decord = load_decord()
    reader = decord.VideoReader(str(path), ctx=decord.cpu(0), width=pixels, height=pixels, num_threads=1)
    return reader.get_batch(wanted(len(reader), frames)).asnumpy()


def with_pyav(path: Path, index: int, count: int, frames: int, pixels: int) -> np.ndarray:
    """Decode from the start, keep what is wanted; the number of pictures is given for nothing."""
    left, pictures = wanted(count, frames), []
    with av.open(str(path)) as container:
        stream = container.streams[index]
        stream.codec_context.thread_count = 1
        for place, frame in enumerate(container.decode(stream)):
            while left and left[0] == place:
                left.pop(0)
                pictures.append(frame.to_ndarray(width=pixels, height=pixels, format="rgb24"))
            if not left:
                break
    return np.stack(pictures)


def wanted(count: int, frames: int) -> list[int]:
    """Numbers of the pictures at the middles of equal parts."""
    return [(2 * part + 1) * count // (2 * frames) for part in range(frames)]


def describe_file(path: Path) -> tuple[int, int, int]:
    """Index of the stream, its pictures and its keyframes."""
    with open_container(path) as container:
        info = describe(container)
        if info.pictures is None:
            raise MediaError("no_stream", f"{path.name}: holds no moving pictures")
        timeline = list_pictures(StreamReader(container, info.pictures.index), info.format_name != "avi")
        return info.pictures.index, len(timeline.pts), len(timeline.keyframes)


def main() -> None:
    """Run the races and print a line a file, then the medians that the bars are about."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of video files")
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--pixels", type=int, default=224)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--decoder", choices=("av", "decord"), default="av", help="that avrec uses")
    given = parser.parse_args()
    print(machine("av", "decord2", "numpy"))
    exact = VideoSpec(given.frames, given.pixels, given.pixels, decoder=given.decoder)
    keyframe = replace(exact, sampling="keyframe")
    exact_ratios, keyframe_ratios = [], []
    for path in sorted(file for file in given.folder.iterdir() if file.is_file()):
        try:
            index, count, keyframes = describe_file(path)
            pictures = decode(path, exact).values[0]
        except MediaError as error:
            print(f"{path.name}: left out ({error})")
            continue
        plainly = (path, index, count, given.frames, given.pixels)
        calls = {
            "avrec": partial(decode, path, exact),
            "decord2": partial(with_decord, *plainly),
            "pyav": partial(with_pyav, *plainly),
            "keyframe": partial(decode, path, keyframe),
        }
        distance = np.abs(pictures.astype(int) - calls["decord2"]()).mean()
        times = medians(in_turns(calls, given.turns))
        peer = min(times["decord2"][0], times["pyav"][0])
        clock = min(times["decord2"][1], times["pyav"][1])
        exact_ratios.append((peer / times["avrec"][0], clock / times["avrec"][1]))
        line = " ".join(f"{name} {1e3 * cpu:.1f}" for name, (cpu, _) in times.items())
        print(
            f"{path.name}: {count} pictures, {keyframes} keyframes; CPU ms {line}; exact {exact_ratios[-1][0]:.2f}x",
            end="",
        )
        if keyframes >= 5:
            keyframe_ratios.append((peer / times["keyframe"][0], clock / times["keyframe"][1]))
            print(f"; keyframes {keyframe_ratios[-1][0]:.2f}x", end="")
        print(f"; pixels differ from decord2's by {distance:.1f} of 255")
    for name, ratios in (("exact sampling", exact_ratios), ("keyframe sampling, 5 keyframes or more", keyframe_ratios)):
        if ratios:
            cpu, wall = (statistics.median(column) for column in zip(*ratios, strict=True))
            least = min(ratio for ratio, _ in ratios)
            print(
                f"{name}, {len(ratios)} files, against the faster: {cpu:.2f}x by CPU (least {least:.2f}), {wall:.2f}x by clock"
            )


if __name__ == "__main__":
    main()
