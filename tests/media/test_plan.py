from pathlib import Path

import numpy as np
import pytest

from avrec.media.container import open_container
from avrec.media.plan import Run, Timeline, list_pictures, nearest_keyframes, plan_runs, shown_at
from avrec.media.stream import StreamReader
from tests.media.made_files import write_video

TIMELINE = Timeline(np.arange(0, 1000, 10), np.array([0, 200, 500, 510, 900]), 1000, has_pts=True)


def test_the_picture_shown_is_the_last_that_began() -> None:
    uneven = Timeline(np.array([10, 50, 60, 200]), np.array([10]), 210, has_pts=True)
    wanted = np.array([0.0, 10.0, 49.9, 50.0 - 1e-6, 199.0, 200.0, 5_000.0])
    assert shown_at(uneven, wanted).tolist() == [10, 10, 10, 50, 60, 200, 200]


def test_the_nearest_keyframe() -> None:
    wanted = np.array([[-5.0, 99.0, 100.0, 101.0], [349.0, 351.0, 506.0, 5_000.0]])
    assert nearest_keyframes(TIMELINE, wanted).tolist() == [[0, 0, 0, 200], [200, 500, 510, 900]]


def test_pictures_are_grouped_by_the_keyframe_before_them() -> None:
    runs = plan_runs(TIMELINE, np.array([[890, 20, 20], [510, 0, 300]]))
    assert runs == [Run(0, (0, 20), 0), Run(200, (300,), 17), Run(510, (510, 890), 20)]


def test_a_picture_before_the_first_keyframe_starts_from_it() -> None:
    assert plan_runs(Timeline(np.array([0, 10, 20]), np.array([10]), 30, has_pts=True), [0, 20])[0].targets == (0, 20)


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_listing_finds_every_picture_without_decoding(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = [0, 40, 90, 400, 410, 1_000, 1_300, 1_310, 1_400, 1_900, 2_000]
    file = write_video(tmp_path / f"a.{suffix}", times, keyframe_every=4)
    monkeypatch.setattr(StreamReader, "frames", lambda self, packet: pytest.fail("a packet was decoded"))
    with open_container(file) as container:
        stream = StreamReader(container, 0)
        timeline = list_pictures(stream, has_pts=True)
        assert [round(pts * float(stream.stream.time_base) * 1000) for pts in timeline.pts] == times
        assert [times[place] for place in np.searchsorted(timeline.pts, timeline.keyframes)] == [0, 410, 1_400]
