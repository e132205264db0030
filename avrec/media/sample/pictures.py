"""Eight classes of synthesised film: three known by any one picture, five by the order of the pictures.

A film that moves or grows, played backwards, is one of the opposite class. Colours, shapes, sizes, places, speeds and grain
vary inside a class.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from avrec.core.arrays import Float64

# T frames, H height, W width
SIDE_PX = 128
FRAME_RATES_HZ = (12, 15, 16)
Painter = Callable[[Float64, np.random.Generator], Float64]


@dataclass(frozen=True)
class Film:
    """Synthesised pictures.

    Attributes:
        frames: (T, H, W, 3) uint8 RGB.
        rate_hz: frames a second.
    """

    frames: np.ndarray
    rate_hz: int


def synthesise_film(class_index: int, duration_sec: float, draw: np.random.Generator) -> Film:
    """One film of a class of `PICTURES`; everything else about it is drawn."""
    rate_hz = FRAME_RATES_HZ[draw.integers(len(FRAME_RATES_HZ))]
    time = np.arange(round(duration_sec * rate_hz)) / rate_hz
    share = list(PICTURES.values())[class_index](time, draw)
    dark, bright = _colour(draw, draw.uniform(0.08, 0.35)), _colour(draw, draw.uniform(0.7, 0.98))
    ground, figure = (dark, bright) if draw.random() < 0.5 else (bright, dark)
    shade = 1 + draw.uniform(-0.15, 0.15) * np.linspace(-1, 1, SIDE_PX)[:, None, None]
    first, step = (255 * ground * shade).astype(np.float32), (255 * (figure - ground) * shade).astype(np.float32)
    frames = share.astype(np.float32)[..., None] * step + first
    grain = int(draw.integers(0, 7))
    frames += draw.integers(-grain, grain + 1, share.shape, np.int16)[..., None]
    return Film(np.rint(frames).clip(0, 255).astype(np.uint8), rate_hz)


def _checks(time: Float64, draw: np.random.Generator) -> Float64:
    """A chequered cloth, turned, that drifts a few pixels a second."""
    middle = np.arange(SIDE_PX) - (SIDE_PX - 1) / 2
    turn, cell_px = draw.uniform(0, 2 * np.pi), draw.uniform(12, 24)
    drift = draw.uniform(-5, 5, (2, 1, 1, 1)) * time[:, None, None] + draw.uniform(0, 48, (2, 1, 1, 1))
    x = np.cos(turn) * middle + np.sin(turn) * middle[:, None] + drift[0]
    y = np.cos(turn) * middle[:, None] - np.sin(turn) * middle + drift[1]
    return np.asarray(np.clip(0.5 + 4 * np.sin(np.pi * x / cell_px) * np.sin(np.pi * y / cell_px), 0.0, 1.0))


def _dots(time: Float64, draw: np.random.Generator) -> Float64:
    """Many small dots scattered over the picture."""
    middle = np.arange(SIDE_PX) - (SIDE_PX - 1) / 2
    share = np.zeros((SIDE_PX, SIDE_PX))
    for x, y in draw.uniform(-0.5, 0.5, (int(draw.integers(28, 45)), 2)) * SIDE_PX:
        reach = np.hypot(middle - x, middle[:, None] - y)
        np.maximum(share, np.clip(draw.uniform(3, 6) - reach + 0.5, 0.0, 1.0), out=share)
    return np.broadcast_to(share, (len(time), SIDE_PX, SIDE_PX))


def _clouds(time: Float64, draw: np.random.Generator) -> Float64:
    """Soft clouds that change slowly: a sum of long waves, each in a direction and at a speed of its own."""
    turn, wave_px = draw.uniform(0, 2 * np.pi, 9), draw.uniform(40, 120, 9)
    middle = np.arange(SIDE_PX) - (SIDE_PX - 1) / 2
    along = np.cos(turn)[:, None, None] * middle + np.sin(turn)[:, None, None] * middle[:, None]
    place = 2 * np.pi * (along / wave_px[:, None, None] + draw.random((9, 1, 1)))
    moment = 2 * np.pi * draw.uniform(-0.15, 0.15, 9) * time[:, None]
    angles = "tk,kyx->tyx"  # the sine of a sum; no BLAS, which sums in an order of the machine's choice
    height = np.einsum(angles, np.cos(moment), np.sin(place)) + np.einsum(angles, np.sin(moment), np.cos(place))
    return np.asarray(0.5 + 0.5 * np.tanh(0.6 * height))


def _rightward(time: Float64, draw: np.random.Generator) -> Float64:
    """A thing crosses the picture from left to right."""
    return _crossing(time / time[-1], draw)


def _leftward(time: Float64, draw: np.random.Generator) -> Float64:
    """A thing crosses the picture from right to left."""
    return _crossing(1 - time / time[-1], draw)


def _growing(time: Float64, draw: np.random.Generator) -> Float64:
    """A thing grows until it fills most of the picture."""
    return _swelling(time / time[-1], draw)


def _shrinking(time: Float64, draw: np.random.Generator) -> Float64:
    """A thing that fills most of the picture shrinks."""
    return _swelling(1 - time / time[-1], draw)


def _blinking(time: Float64, draw: np.random.Generator) -> Float64:
    """A thing comes and goes, a little slower than once a second."""
    place = draw.uniform(-0.2, 0.2, 2) * SIDE_PX
    size_px = np.full(len(time), draw.uniform(20, 34))
    lit = (draw.uniform(0.6, 0.9) * time + draw.random()) % 1.0 < 0.5
    return _thing(np.tile(place, (len(time), 1)), size_px, draw) * lit[:, None, None]


PICTURES: dict[str, Painter] = {
    "checks": _checks,
    "dots": _dots,
    "clouds": _clouds,
    "rightward": _rightward,
    "leftward": _leftward,
    "growing": _growing,
    "shrinking": _shrinking,
    "blinking": _blinking,
}


def _crossing(progress: Float64, draw: np.random.Generator) -> Float64:
    """A thing whose middle goes from one edge (0) to the other (1), higher or lower in the picture."""
    first, last = draw.uniform(-0.52, -0.36), draw.uniform(0.36, 0.52)
    across = (first + (last - first) * progress) * SIDE_PX
    along = np.full(len(progress), draw.uniform(-0.22, 0.22) * SIDE_PX)
    return _thing(np.stack([across, along], axis=1), np.full(len(progress), draw.uniform(18, 32)), draw)


def _swelling(progress: Float64, draw: np.random.Generator) -> Float64:
    """A thing in one place whose size goes from small (0) to large (1)."""
    smallest_px, largest_px = draw.uniform(5, 10), draw.uniform(44, 60)
    place = draw.uniform(-0.15, 0.15, 2) * SIDE_PX
    size_px = smallest_px * (largest_px / smallest_px) ** progress
    return _thing(np.tile(place, (len(progress), 1)), size_px, draw)


def _thing(place: Float64, size_px: Float64, draw: np.random.Generator) -> Float64:
    """(T, H, W) share of each pixel that a disc, square or triangle covers: middle (T, 2) and size (T,) in pixels."""
    middle = np.arange(SIDE_PX) - (SIDE_PX - 1) / 2
    x = middle - place[:, 0, None, None]
    y = middle[:, None] - place[:, 1, None, None]
    num_sides = (0, 4, 3)[draw.integers(3)]
    turn = draw.uniform(0, 2 * np.pi)
    if num_sides == 0:
        reach = np.hypot(x, y)
    else:
        angles = turn + 2 * np.pi * np.arange(num_sides) / num_sides
        reach = np.max([x * np.cos(angle) + y * np.sin(angle) for angle in angles], axis=0) * num_sides**0.5 / 1.6
    return np.clip(size_px[:, None, None] - reach + 0.5, 0.0, 1.0)


def _colour(draw: np.random.Generator, value: float) -> Float64:
    """An RGB colour of the given brightness, any hue, pale to strong."""
    hue, saturation = draw.random(), draw.uniform(0.1, 0.75)
    distance = np.abs((hue * 6 + np.array([3.0, 1.0, 5.0])) % 6 - 3)  # hexagonal model: 0 where the channel is full
    return np.asarray(value * (1 - saturation * np.clip(distance - 1, 0.0, 1.0)))
