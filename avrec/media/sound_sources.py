"""Stretches of a file's sound at its own rate and channels: by libsndfile where it can, else by FFmpeg."""

import re
from itertools import chain
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np

from avrec.core.arrays import Float32
from avrec.core.errors import require
from avrec.media.probe import SoundInfo
from avrec.media.stream import StreamReader

if TYPE_CHECKING:
    from pathlib import Path

    from av.container import InputContainer

_BLOCK_SAMPLES = 1 << 18
_UNKNOWN_BYTES = 2**31 - 1  # what writes into a pipe leaves this or more in the header
_PREROLL_SEC = 0.25  # overlapping windows, bit reservoirs and the 80 ms that Opus asks for settle within
_JUMP_SEC = 0.02  # Vorbis stamps jitter by half as much between long and short blocks; a lost packet leaves more
# PyAV (18.1) looks for the end of a frame's planes past the array that holds eight of them, and crashes.
_UNSAFE_PLANES = 8
_LATE_SEC = 0.05  # encoder priming that is trimmed is shorter


class SoundSource(Protocol):
    """Sound by sample number; number 0 is the start of the file.

    Attributes:
        rate_hz: of the samples.
    """

    rate_hz: int

    @property
    def num_damaged(self) -> int:
        """Packets that could not be decoded so far."""

    def read(self, first: int, num_samples: int) -> Float32:
        """(number of samples, channels) from `first` on; fewer where the sound ends before."""

    def count(self, most: int) -> int:
        """Number of the last sample plus one, found by reading everything, or soon after `most`."""


class SoundFileSource:
    """WAV, AIFF, FLAC, Ogg and MP3 by libsndfile, which seeks to a sample.

    Raises:
        soundfile.LibsndfileError: from every method: the file is damaged, or of a kind that libsndfile cannot read.
    """

    def __init__(self, path: "Path") -> None:
        self._file: Any = require("soundfile", "decode").SoundFile(str(path.absolute()))
        self.rate_hz: int = self._file.samplerate

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    @property
    def num_damaged(self) -> int:
        """None: libsndfile raises instead."""
        return 0

    @property
    def num_samples(self) -> int:
        """As the header claims, or as libsndfile found on opening."""
        return int(self._file.frames)

    @property
    def claimed_sec(self) -> float:
        """Length that the header of a WAV or AIFF file claims where the file is shorter; else what was found."""
        sizes = re.search(r"^(?:RIFF|FORM) : (\d+) \(should be (\d+)\)", self._file.extra_info, re.MULTILINE)
        claimed, held = (int(size) for size in sizes.groups()) if sizes else (1, 1)
        share = claimed / held if held and claimed < _UNKNOWN_BYTES else 1.0
        return self.num_samples / self.rate_hz * max(1.0, share)

    def read(self, first: int, num_samples: int) -> Float32:
        """See `SoundSource`."""
        self._file.seek(min(first, self.num_samples))
        return np.asarray(self._file.read(num_samples, dtype="float32", always_2d=True))

    def count(self, most: int) -> int:
        """See `SoundSource`."""
        self._file.seek(0)
        total = 0
        while total <= most and (got := len(self._file.read(_BLOCK_SAMPLES, dtype="float32", always_2d=True))):
            total += got
        return total


class ContainerSource:
    """The sound stream of any container by FFmpeg; samples are numbered by time stamps, silence fills the gaps."""

    def __init__(self, container: "InputContainer", info: SoundInfo) -> None:
        self._stream = StreamReader(container, info.index)
        self._info = info
        self._fresh = True
        self.rate_hz = info.sample_rate_hz

    @property
    def num_damaged(self) -> int:
        """See `SoundSource`."""
        return self._stream.num_damaged

    def read(self, first: int, num_samples: int) -> Float32:
        """See `SoundSource`."""
        out, reached, earliest = self._pass(first, num_samples, from_start=False)
        if earliest is not None and earliest > max(first, self._start()):
            out, reached, _ = self._pass(first, num_samples, from_start=True)  # the seek went too far
        return out[: max(0, reached - first)]

    def count(self, most: int) -> int:
        """See `SoundSource`."""
        return self._pass(most, 0, from_start=True)[1]

    def _start(self) -> int:
        return round((self._info.start_sec + _LATE_SEC) * self.rate_hz)

    def _pass(self, first: int, num_samples: int, from_start: bool) -> tuple[Float32, int, int | None]:
        """Decode over a stretch: its samples, the end of what came, and where the first frame began."""
        self._go(0 if from_start else max(0, first - round(_PREROLL_SEC * self.rate_hz)))
        out = np.zeros((num_samples, self._info.num_channels), np.float32)
        position: int | None = None
        earliest: int | None = None
        for packet in chain(self._stream.packets(), [None]):
            for frame in self._stream.frames(packet):
                if frame.sample_rate != self.rate_hz or frame.layout.nb_channels != out.shape[1]:
                    continue
                samples = _float_samples(frame)
                stamp = position if frame.pts is None else self._number(frame)
                if position is None or (stamp is not None and abs(stamp - position) > _JUMP_SEC * self.rate_hz):
                    position = stamp or 0
                earliest = position if earliest is None else earliest
                _paste(out, samples, position - first)
                position += len(samples)
            if position is not None and position >= first + num_samples:
                break
        return out, position or 0, earliest

    def _go(self, number: int) -> None:
        """Seek, unless the file was just opened and the start is wanted: that is where it stands, priming trimmed."""
        if not (self._fresh and number == 0):
            seconds = number / self.rate_hz
            self._stream.seek(round(self._stream.start_pts + seconds / float(self._stream.stream.time_base)))
        self._fresh = False

    def _number(self, frame: Any) -> int:
        since_start = frame.pts - self._stream.start_pts
        return round(float(since_start * frame.time_base) * self.rate_hz)


def _paste(out: Float32, samples: Float32, at: int) -> None:
    """Write `samples` into `out` from position `at` on, as far as they lie inside."""
    low, high = max(at, 0), min(at + len(samples), len(out))
    if low < high:
        out[low:high] = samples[low - at : high - at]


def _float_samples(frame: Any) -> Float32:
    """(number of samples, channels) of a decoded frame; integers are scaled to [-1, 1)."""
    if frame.format.is_planar and frame.layout.nb_channels >= _UNSAFE_PLANES:
        av = require("av", "decode")
        [frame] = av.AudioResampler("flt", frame.layout, frame.sample_rate).resample(frame)
    values = frame.to_ndarray()
    if not frame.format.is_planar:
        values = values.reshape(-1, frame.layout.nb_channels).T
    if values.dtype == np.uint8:
        values = (values.astype(np.float32) - 128) / 128
    elif values.dtype.kind == "i":
        values = values.astype(np.float64 if values.itemsize > 2 else np.float32) / 2.0 ** (8 * values.itemsize - 1)
    return np.asarray(values.T, np.float32)
