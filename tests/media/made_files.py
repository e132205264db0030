"""Small media files whose content is known: pictures that show their own number, sound given as an array."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

BITS = 8
SIZE = (64, 48)  # width, height as stored


def picture(number: int, width: int = SIZE[0], height: int = SIZE[1]) -> np.ndarray:
    """`BITS` upright bars, the highest bit first from the left, white where it is 1; the lower quarter is black."""
    bits = [(number >> (BITS - 1 - place)) & 1 for place in range(BITS)]
    row = np.repeat(np.array(bits, np.uint8) * 255, width // BITS)
    image = np.broadcast_to(row[None, :, None], (height, width, 3)).copy()
    image[-height // 4 :] = 0
    return image


def numbers(pictures: np.ndarray) -> list[int]:
    """The numbers that pictures (..., H, W, 3) show, in order."""
    flat = pictures.reshape(-1, *pictures.shape[-3:])
    width = flat.shape[2] // BITS
    bars = flat[:, : flat.shape[1] // 2].mean(axis=(1, 3))  # (pictures, W)
    bits = (
        bars[:, : width * BITS].reshape(len(flat), BITS, width)[:, :, width // 4 : -(width // 4) or None].mean(2) > 128
    )
    return [int("".join("1" if bit else "0" for bit in row), 2) for row in bits]


def write_video(
    path: Path,
    times_ms: Sequence[int],
    *,
    keyframe_every: int = 10,
    codec: str = "libx264",
    size: tuple[int, int] = SIZE,
    sound: np.ndarray | None = None,
    sound_starts_ms: int = 0,
    rate_hz: int = 16_000,
    rotation: int | None = None,
) -> Path:
    """Picture k is shown from `times_ms[k]` on; sound (samples,) mono, if any, is coded as PCM or AAC."""
    index_first = {"movflags": "faststart"} if path.suffix == ".mp4" else {}
    with av.open(str(path), "w", options=index_first) as out:
        options = (
            {"g": str(keyframe_every), "sc_threshold": "0", "bf": "2"}
            if codec == "libx264"
            else {"g": str(keyframe_every)}
        )
        video = out.add_stream(codec, rate=25, options=options)
        video.width, video.height, video.pix_fmt = *size, "yuv420p"
        video.time_base = video.codec_context.time_base = Fraction(1, 1000)
        if rotation is not None:
            video.set_display_rotation(rotation)
        audio = None
        if sound is not None:
            audio = out.add_stream("pcm_s16le" if path.suffix in (".mkv", ".mov", ".avi") else "aac", rate=rate_hz)
            audio.layout = "mono"
        for number, time in enumerate(times_ms):
            frame = av.VideoFrame.from_ndarray(picture(number, *size), format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        if audio is not None:
            step = 1024
            for first in range(0, len(sound), step):
                part = (np.clip(sound[first : first + step], -1, 1) * 32767).astype(np.int16)[None]
                frame = av.AudioFrame.from_ndarray(part, format="s16", layout="mono")
                frame.sample_rate, frame.time_base = rate_hz, Fraction(1, rate_hz)
                frame.pts = first + sound_starts_ms * rate_hz // 1000
                out.mux(audio.encode(frame))
            out.mux(audio.encode(None))
    return path
