"""The pictures of a plan, read by decord2 in place of PyAV.

decord2 numbers keyframes in the order of decoding and shows nobody which picture it gives. So where its seeks would miss it
is made to read the file through, and where even that would miss it is not asked. What is damaged it refuses as a whole.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from avrec.core.arrays import Int64
from avrec.core.clips import VideoSpec
from avrec.media.decord_library import load_decord
from avrec.media.plan import Timeline
from avrec.media.problems import MediaError

if TYPE_CHECKING:
    from av.container import InputContainer

_FORMATS = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi")  # others it enters somewhere behind their start
_CHANNELS = 3


def read_with_decord(
    path: Path, container: "InputContainer", index: int, timeline: Timeline, targets: Int64, spec: VideoSpec
) -> dict[int, np.ndarray]:
    """Pictures (H, W, 3) uint8 by time stamp, of every target.

    Args:
        path: of the file.
        container: the same file, open.
        index: of the stream to read.
        timeline: of that stream.
        targets: time stamps of pictures, in any order, repeated or not.
        spec: size of the pictures.

    Raises:
        MediaError: `unreadable`, where decord2 cannot give these pictures; PyAV may.
    """
    decord = load_decord()
    if container.format.name not in _FORMATS:
        raise _refusal(path, f"cannot be trusted to find pictures in {container.format.name}")
    best: Any = container.streams.best("video")
    if best is None or best.index != index:
        raise _refusal(path, f"would read another stream than {index}")
    stamps = np.unique(targets)
    try:
        size = {"width": spec.width_px, "height": spec.height_px}
        reader = decord.VideoReader(str(path.absolute()), ctx=decord.cpu(0), num_threads=1, **size)
        keyframes = _numbers(path, reader, timeline, container.streams[index], timeline.keyframes)
        if keyframes[0] != 0:
            raise _refusal(path, "cannot read a stream that does not begin with a keyframe")
        numbers = _numbers(path, reader, timeline, container.streams[index], stamps)
        seek = timeline.has_pts and np.array_equal(reader.get_key_indices(), keyframes)
        pictures = _read_at(reader, numbers) if seek else _read_through(reader, numbers)
        return {int(stamp): _trimmed(picture, spec) for stamp, picture in zip(stamps, pictures, strict=True)}
    except StopIteration as error:
        raise _refusal(path, f"gives fewer than the {len(timeline.pts)} pictures that the file lists") from error
    except (decord.DECORDError, RuntimeError, AssertionError, IndexError, UnicodeError) as error:
        complaint = re.sub(r".*\.(cc|h):\d+: ", "", str(error).strip().split("\n")[0])  # a trace of its C++ follows
        complaint = complaint.replace(f"[{path.absolute()}] ", "")
        raise _refusal(path, f"cannot read it ({complaint})") from error


def _numbers(path: Path, reader: Any, timeline: Timeline, stream: Any, stamps: Int64) -> Int64:
    """decord2's numbers, in the order of showing, of the pictures with these time stamps."""
    if not timeline.has_pts:
        if len(reader) != len(timeline.pts):
            raise _refusal(path, f"lists {len(reader)} pictures where the file holds {len(timeline.pts)}")
        return np.searchsorted(timeline.pts, stamps)
    shown_sec = reader.get_frame_timestamp(np.arange(len(reader)))[:, 0].astype(np.float64)
    unit_sec = float(stream.time_base)
    wanted_sec = (stamps - (stream.start_time or 0)) * unit_sec
    after = np.clip(np.searchsorted(shown_sec, wanted_sec), 0, len(shown_sec) - 1)
    before = np.maximum(after - 1, 0)
    later = np.abs(shown_sec[after] - wanted_sec) < np.abs(shown_sec[before] - wanted_sec)
    nearest: Int64 = np.where(later, after, before)
    rounding = np.spacing(np.abs(wanted_sec).astype(np.float32))  # its times are of single precision
    if (np.abs(shown_sec[nearest] - wanted_sec) > unit_sec / 2 + 2 * rounding).any():
        raise _refusal(path, "lists its pictures at other times")
    return nearest


def _read_at(reader: Any, numbers: Int64) -> list[np.ndarray]:
    return [reader[int(number)].asnumpy() for number in numbers]


def _read_through(reader: Any, numbers: Int64) -> list[np.ndarray]:
    """Without seeks, which `skip_frames` would make."""
    pictures, at = [], 0
    for number in numbers:
        for _ in range(int(number) - at):
            reader.next()
        pictures.append(reader.next().asnumpy())
        at = int(number) + 1
    return pictures


def _trimmed(picture: np.ndarray, spec: VideoSpec) -> np.ndarray:
    """Without the padding of its rows, which decord2 takes for channels at widths such as 48 or 96 (`get_batch` fails)."""
    rows = picture.reshape(spec.height_px, -1)
    return rows[:, : _CHANNELS * spec.width_px].reshape(spec.height_px, spec.width_px, _CHANNELS)


def _refusal(path: Path, reason: str) -> MediaError:
    return MediaError("unreadable", f"{path.name}: decord {reason}; decoder=av reads more")
