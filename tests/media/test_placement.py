import numpy as np
import pytest

from avrec.media.placement import clip_starts, valid_share


@pytest.mark.parametrize(
    ("duration", "clip", "number", "starts"),
    [
        (10.0, 4.0, 1, [3.0]),
        (12.0, 4.0, 3, [0.0, 4.0, 8.0]),
        (12.0, 2.0, 3, [1.0, 5.0, 9.0]),
        (5.0, 4.0, 2, [0.0, 1.0]),  # they overlap, and none leaves the file
        (3.0, 4.0, 2, [0.0, 0.0]),
    ],
)
def test_middles_divide_the_file(duration: float, clip: float, number: int, starts: list[float]) -> None:
    assert clip_starts(duration, clip, number).tolist() == pytest.approx(starts)


def test_share_that_is_real() -> None:
    assert valid_share(np.array([0.0, 2.0, 3.0]), 4.0, 5.0).tolist() == [1.0, 0.75, 0.5]
