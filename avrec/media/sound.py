"""Clips of sound: placed, read with a margin, channels averaged, resampled, and compared with what was claimed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from avrec.core.arrays import Float32
from avrec.core.clips import AudioSpec, Clips
from avrec.core.errors import require
from avrec.media.limits import Limits
from avrec.media.placement import clip_starts, valid_share
from avrec.media.probe import MediaInfo
from avrec.media.problems import MediaError
from avrec.media.resample import resample
from avrec.media.sound_sources import ContainerSource, SoundFileSource, SoundSource

if TYPE_CHECKING:
    from av.container import InputContainer

LIBSNDFILE_FORMATS = ("wav", "w64", "aiff", "flac", "ogg", "mp3")
MIN_SEC = 0.05  # two analysis windows of the usual encoders
SILENT_RMS = 1e-4  # -80 dB of full scale, three steps of 16-bit sound: dither, not sound
_MARGIN_SEC = 0.05  # read beyond both ends of a clip, for the resampling filter
_SHORT_SEC = 0.1  # by less than this, headers round and encoders pad
_CANCELLED_SHARE = 0.01


@dataclass(frozen=True)
class _Stretch:
    """What was read for one clip: `num_wanted` samples from number `first` on; `samples` (num, channels) came."""

    start_sec: float
    first: int
    num_wanted: int
    samples: Float32


def read_sound(path: Path, container: "InputContainer", info: MediaInfo, spec: AudioSpec, limits: Limits) -> Clips:
    """Read the clips of sound that `spec` asks for.

    Args:
        path: of the file, for libsndfile and the messages.
        container: the same file, open.
        info: what the file claims.
        spec: what to read.
        limits: bounds the duration where the header claims none.

    Raises:
        MediaError: `no_stream`, `too_short`, `too_large`, `truncated`, `silent`, `non_finite` or `unreadable`.
    """
    if info.sound is None:
        raise MediaError("no_stream", f"{path.name}: holds no sound")
    own_sec = info.sound.duration_sec
    claimed_sec = info.duration_sec if own_sec is None else info.sound.start_sec + own_sec
    if info.format_name in LIBSNDFILE_FORMATS and info.pictures is None:
        soundfile = require("soundfile", "decode")
        try:
            with SoundFileSource(path) as source:
                end_sec = source.num_samples / source.rate_hz
                claimed_sec = max(claimed_sec or 0.0, source.claimed_sec)
                return _read(path.name, source, end_sec, claimed_sec, spec, limits, info.sound.notes)
        except soundfile.LibsndfileError:
            pass  # FFmpeg knows more codecs, and reads up to the damage
    if info.sound.sample_rate_hz <= 0 or info.sound.num_channels <= 0:
        raise MediaError("unreadable", f"{path.name}: the sound has no sample rate or no channels")
    frames = ContainerSource(container, info.sound)
    return _read(path.name, frames, claimed_sec, claimed_sec, spec, limits, info.sound.notes)


def _read(
    name: str,
    source: SoundSource,
    end_sec: float | None,
    claimed_sec: float | None,
    spec: AudioSpec,
    limits: Limits,
    notes: Sequence[str],
) -> Clips:
    """Cut the clips by the length that the source tells, or by the length that is found if it tells none or too much."""
    if end_sec is None:
        end_sec = _measure(name, source, limits)
    stretches = _cut(source, end_sec, spec)
    if any(len(part.samples) < part.num_wanted - _SHORT_SEC * source.rate_hz for part in stretches):
        end_sec = _measure(name, source, limits)  # the claim was wrong: place the clips over what there is
        stretches = _cut(source, end_sec, spec)
    short = claimed_sec is not None and end_sec < 0.9 * claimed_sec - _SHORT_SEC
    extent = f"{end_sec:.2f} s of {claimed_sec:.1f} s could be read" if short else f"{end_sec:.3f} s of sound"
    if end_sec < MIN_SEC:
        raise MediaError("truncated" if short else "too_short", f"{name}: {extent}; the least is {MIN_SEC} s")
    mono, cancelled = _average(name, [part.samples for part in stretches], extent if short else None)
    notes = [*notes, *cancelled]
    clips = [
        _finish(samples, part, source.rate_hz, end_sec, spec) for samples, part in zip(mono, stretches, strict=True)
    ]
    values = np.stack(clips)
    peak = float(np.abs(values).max())
    if peak > 1:
        values /= peak
        notes.append(f"loud: peak {peak:.2f} of full scale; scaled to 1")
    if short:
        notes.append(f"short: {extent}")
    if source.num_damaged:
        notes.append(f"damaged: {source.num_damaged} packets of sound could not be decoded")
    valid = valid_share(np.array([part.start_sec for part in stretches]), spec.clip_sec, end_sec)
    return Clips(values, valid, tuple(notes))


def _measure(name: str, source: SoundSource, limits: Limits) -> float:
    """Seconds of sound, by reading all of it."""
    num_samples = source.count(round(limits.max_duration_sec * source.rate_hz))
    if num_samples > limits.max_duration_sec * source.rate_hz:
        raise MediaError("too_large", f"{name}: longer than the limit of {limits.max_duration_sec:g} seconds")
    return num_samples / source.rate_hz


def _cut(source: SoundSource, end_sec: float, spec: AudioSpec) -> list[_Stretch]:
    """Read each clip with the margin, as far as the file reaches."""
    parts = []
    for start in clip_starts(end_sec, spec.clip_sec, spec.num_clips):
        start_sec = int(float(start) * 100 + 1e-6) / 100  # the same at any stored rate, however its length was rounded
        first = max(0, int((start_sec - _MARGIN_SEC) * source.rate_hz))
        last = int(np.ceil(min(start_sec + spec.clip_sec + _MARGIN_SEC, end_sec) * source.rate_hz))
        num_wanted = max(0, last - first)
        parts.append(_Stretch(start_sec, first, num_wanted, source.read(first, num_wanted)))
    return parts


def _average(name: str, stretches: Sequence[Float32], short: str | None) -> tuple[list[Float32], list[str]]:
    """Mean over channels, after saying what a listener would; where they cancel, the loudest channel."""
    channels = [np.ascontiguousarray(part.T) for part in stretches]  # sums over a short last axis are slow
    energy = np.sum([[float(np.dot(one, one)) for one in part] for part in channels], axis=0)
    if not np.isfinite(energy).all():
        raise MediaError("non_finite", f"{name}: the sound holds NaN or infinite samples")
    mono = [part.mean(axis=0) for part in channels]
    rms = float(np.sqrt(energy.max() / max(1, sum(len(part) for part in mono))))
    if rms < SILENT_RMS:
        reason = f"{name}: the sound read has a root mean square of {rms:.1e} of full scale"
        if short:  # what was not cut off may be its fade-in
            raise MediaError("truncated", f"{reason}, and only {short}")
        raise MediaError("silent", reason)
    if sum(float(np.dot(part, part)) for part in mono) >= _CANCELLED_SHARE**2 * energy.max():
        return mono, []
    loudest = int(energy.argmax())
    note = f"cancels: the mean of the {len(energy)} channels is silent; channel {loudest} is read"
    return [part[loudest] for part in channels], [note]


def _finish(mono: Float32, part: _Stretch, rate_hz: int, end_sec: float, spec: AudioSpec) -> Float32:
    """(S,) at the rate wanted; zero from the end of the file on."""
    if rate_hz == spec.sample_rate_hz:
        at = round(part.start_sec * rate_hz) - part.first
        values = mono[at : at + spec.num_samples]
        return np.pad(values, (0, spec.num_samples - len(values)))
    offset_sec = part.start_sec - part.first / rate_hz
    values = resample(mono, rate_hz, spec.sample_rate_hz, offset_sec, spec.num_samples)
    values[round(max(0.0, end_sec - part.start_sec) * spec.sample_rate_hz) :] = 0
    return values
