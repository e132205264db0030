import shutil
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import av
import numpy as np
import pytest

from avrec.core.clips import VideoSpec
from avrec.media.decode import decode
from avrec.media.decord_library import load_decord
from avrec.media.limits import Limits
from avrec.media.probe import probe
from avrec.media.problems import MediaError
from avrec.media.stream import StreamReader
from tests.media.made_files import SIZE, numbers, write_video

EVERY_40_MS = range(0, 4_000, 40)  # 100 pictures
SMALL = {"height_px": SIZE[1], "width_px": SIZE[0]}


class Counted:
    """How often streams were sought, and how many packets were decoded."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: Counter[str] = Counter()
        seek, frames = StreamReader.seek, StreamReader.frames

        def counted_seek(stream, pts):
            self.calls["seeks"] += 1
            return seek(stream, pts)

        def counted_frames(stream, packet):
            self.calls["packets"] += packet is not None
            return frames(stream, packet)

        monkeypatch.setattr(StreamReader, "seek", counted_seek)
        monkeypatch.setattr(StreamReader, "frames", counted_frames)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    return Counted(monkeypatch)


def exact_numbers(num_frames: int, num_pictures: int = 100) -> list[int]:
    return [(2 * place + 1) * num_pictures // (2 * num_frames) for place in range(num_frames)]


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.webm", "libvpx-vp9"), ("b.webm", "libvpx"), ("a.avi", "mpeg4")],
)
@pytest.mark.parametrize("keyframe_every", [7, 1_000])
def test_exact_pictures_of_every_container(tmp_path: Path, name: str, codec: str, keyframe_every: int) -> None:
    file = write_video(tmp_path / name, EVERY_40_MS, codec=codec, keyframe_every=keyframe_every)
    for num_frames in (1, 3, 8, 50, 150):
        clips = decode(file, VideoSpec(num_frames, **SMALL))
        assert clips.values.shape == (1, num_frames, SIZE[1], SIZE[0], 3) and clips.values.dtype == np.uint8
        assert numbers(clips.values) == exact_numbers(num_frames)
        assert clips.valid.tolist() == [1] and clips.notes == ()


def test_variable_frame_rate_goes_by_time(tmp_path: Path) -> None:
    times = [0, 10, 20, 30, 40, 1_000, 1_010, 3_000, 3_500, 3_600]  # the median distance, 10 ms, ends the last
    file = write_video(tmp_path / "a.mp4", times)
    wanted = [(place + 0.5) / 9 * 3_610 for place in range(9)]
    expected = [max(k for k, time in enumerate(times) if time <= t) for t in wanted]
    assert numbers(decode(file, VideoSpec(9, **SMALL)).values) == expected


def test_clips_lie_where_the_spec_puts_them(tmp_path: Path) -> None:
    file = write_video(tmp_path / "a.mp4", EVERY_40_MS)
    halves = decode(file, VideoSpec(2, num_clips=2, **SMALL))
    assert numbers(halves.values) == exact_numbers(4) and halves.valid.tolist() == [1, 1]
    seconds = decode(file, VideoSpec(5, num_clips=2, clip_sec=1.0, **SMALL))  # from 0.5 s and from 2.5 s
    assert numbers(seconds.values) == [15, 20, 25, 30, 35, 65, 70, 75, 80, 85]


def test_a_short_file_repeats_its_last_picture(tmp_path: Path) -> None:
    file = write_video(tmp_path / "a.mp4", range(0, 400, 40))
    clips = decode(file, VideoSpec(4, clip_sec=1.6, **SMALL))
    assert numbers(clips.values) == [5, 9, 9, 9] and clips.valid.tolist() == [0.25]


def test_one_picture_is_repeated(tmp_path: Path) -> None:
    clips = decode(write_video(tmp_path / "a.mkv", [0]), VideoSpec(3, **SMALL))
    assert numbers(clips.values) == [0, 0, 0] and clips.valid.tolist() == [1]


def test_only_what_is_needed_is_decoded_in_one_pass(tmp_path: Path, counted: Counted) -> None:
    file = write_video(tmp_path / "a.mp4", EVERY_40_MS, keyframe_every=10)
    assert numbers(decode(file, VideoSpec(2, **SMALL)).values) == [25, 75]
    assert counted.calls["seeks"] == 1  # back to the start after listing; what lies between is read past
    assert counted.calls["packets"] <= 2 * 10


def test_long_stretches_are_sought_over_once_a_run(tmp_path: Path, counted: Counted) -> None:
    file = write_video(tmp_path / "a.mkv", range(0, 20_000, 40), keyframe_every=10)
    values = decode(file, VideoSpec(3, clip_sec=10.0, **SMALL)).values
    assert numbers(values) == [pts % 256 for pts in (166, 250, 333)]
    assert counted.calls["seeks"] == 1
    counted.calls.clear()
    assert numbers(decode(file, VideoSpec(3, **SMALL)).values) == [83, 250, 416 % 256]
    assert counted.calls["seeks"] == 3 and counted.calls["packets"] <= 3 * 12


def test_pictures_that_nothing_refers_to_are_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_video(tmp_path / "a.mp4", EVERY_40_MS, keyframe_every=1_000)
    given: list[int] = []
    frames = StreamReader.frames
    monkeypatch.setattr(StreamReader, "frames", lambda s, p: given.append(len(out := frames(s, p))) or out)
    assert numbers(decode(file, VideoSpec(1, **SMALL)).values) == [50]
    assert sum(given) < 40  # of 51: two B pictures between any two others


@pytest.mark.parametrize("held_bytes", [10**6, 0])
def test_keyframes_only(tmp_path: Path, counted: Counted, held_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("avrec.media.plan._HELD_BYTES", held_bytes)
    file = write_video(tmp_path / "a.mp4", EVERY_40_MS, keyframe_every=25)
    clips = decode(file, VideoSpec(8, sampling="keyframe", **SMALL))
    # wanted 6, 18, 31, 43, 56, 68, 81, 93 and a half each; keyframes 0, 25, 50, 75
    assert numbers(clips.values) == [0, 25, 25, 50, 50, 75, 75, 75]
    assert clips.notes == ("keyframes: 4 distinct of 8 pictures",)
    assert counted.calls == {"packets": 4, **({} if held_bytes else {"seeks": 1})}


@pytest.mark.parametrize("angle", [0, 90, 180, 270])
def test_rotation_is_applied(tmp_path: Path, angle: int) -> None:
    file = write_video(tmp_path / "a.mp4", range(0, 400, 40), rotation=angle)
    width, height = SIZE if angle % 180 == 0 else SIZE[::-1]
    shown = decode(file, VideoSpec(5, height_px=height, width_px=width)).values
    assert numbers(np.rot90(shown, -angle // 90, (2, 3))) == [1, 3, 5, 7, 9]


def test_rotation_and_pixels_are_those_of_decord(shared_media: Path) -> None:
    if find_spec("decord") is None:
        pytest.skip("the extra decode is not installed")
    decord = load_decord()
    for name in ("bbb_rotated90.mp4", "fire2.mp4", "example3.mp4", "bbb_h264_flac_22k.mkv", "bbb_vp9_opus.webm"):
        reader = decord.VideoReader(str(shared_media / "video" / name), width=64, height=64, num_threads=1)
        expected = reader.get_batch(range(len(reader))).asnumpy()
        ours = decode(shared_media / "video" / name, VideoSpec(5, 64, 64)).values[0]
        nearest = [np.abs(expected.astype(int) - picture).mean(axis=(1, 2, 3)).min() for picture in ours]
        assert max(nearest) < 4, name  # it turns before it scales


def test_the_largest_of_two_streams(shared_media: Path) -> None:
    clips = decode(shared_media / "video/nasa_13013.mp4", VideoSpec(2, **SMALL))
    assert clips.notes == ("streams: of 2 with pictures, the largest, 480x270, is read",)


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_a_file_that_breaks_off(tmp_path: Path, suffix: str) -> None:
    file = write_video(tmp_path / f"a.{suffix}", EVERY_40_MS, keyframe_every=5)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    clips = decode(file, VideoSpec(4, **SMALL))
    end = float(clips.notes[0].removeprefix("short: ").split(" s of 4.0 s could be read")[0])
    assert 0.2 < end < 3 and clips.valid.tolist() == [1]
    assert numbers(clips.values) == exact_numbers(4, round(end / 0.04))


def test_nothing_behind_the_header(tmp_path: Path) -> None:
    file = write_video(tmp_path / "a.mp4", EVERY_40_MS)
    content = file.read_bytes()
    file.write_bytes(content[: content.index(b"mdat") + 8])  # the index stands before it
    with pytest.raises(MediaError, match=r"a\.mp4: the header names moving pictures, but none follows") as caught:
        decode(file, VideoSpec(4))
    assert caught.value.kind == "truncated"


def damage(file: Path, pictures: range) -> None:
    """Overwrite the content of these packets, in the order of decoding."""
    with av.open(str(file)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        places = [(packet.pos, packet.size) for packet in packets]
    content = bytearray(file.read_bytes())
    for place in pictures:
        start, size = places[place]
        content[start : start + size] = b"\xff" * size
    file.write_bytes(content)


def test_neighbours_stand_in_for_damaged_pictures(tmp_path: Path) -> None:
    file = write_video(tmp_path / "a.mp4", EVERY_40_MS, keyframe_every=10)
    damage(file, range(50, 60))
    clips = decode(file, VideoSpec(20, **SMALL))  # 2, 7, 12, ...
    seen = numbers(clips.values)
    expected = exact_numbers(20)
    assert seen[:10] == expected[:10] and seen[12:] == expected[12:] and set(seen[10:12]) <= set(range(40, 70))
    assert clips.notes == ("damaged: of 20 pictures 2 are replaced by a neighbour, 0 are mended by the decoder",)


def test_too_much_damage_is_refused(tmp_path: Path) -> None:
    file = write_video(tmp_path / "a.mp4", EVERY_40_MS, keyframe_every=10)
    damage(file, range(20, 100))
    with pytest.raises(MediaError, match=r"a\.mp4: \d of the 8 pictures wanted could not be decoded") as caught:
        decode(file, VideoSpec(8))
    assert caught.value.kind == "unreadable"


def test_a_size_above_the_limit_is_refused_before_decoding(tmp_path: Path, counted: Counted) -> None:
    file = write_video(tmp_path / "a.mp4", range(0, 400, 40))
    with pytest.raises(MediaError, match="3072 pixels a picture, more than the limit of 3000") as caught:
        decode(file, VideoSpec(2), Limits(max_pixels=3_000))
    assert caught.value.kind == "too_large" and not counted.calls


def test_a_length_above_the_limit_that_no_header_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_video(tmp_path / "a.mp4", EVERY_40_MS)
    monkeypatch.setattr("avrec.media.decode.check_limits", lambda *_: None)
    with pytest.raises(MediaError, match=r"a\.mp4: longer than the limit of 3 seconds"):
        decode(file, VideoSpec(2), Limits(max_duration_sec=3.0))


def test_no_picture_stream(tmp_path: Path, shared_media: Path) -> None:
    shutil.copy(shared_media / "odd/cover_art.mp3", tmp_path / "cover.mp3")
    with pytest.raises(MediaError, match=r"cover\.mp3: holds no moving pictures") as caught:
        decode(tmp_path / "cover.mp3", VideoSpec(2))
    assert caught.value.kind == "no_stream"


def every_picture(path: Path, width: int, height: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Naive: times and values of all pictures, decoded from first to last; the end of the last one."""
    info = probe(path)
    pictures, stamps = [], []
    with av.open(str(path)) as container:
        stream = container.streams[info.pictures.index]
        stream.codec_context.thread_count = 1
        for frame in container.decode(stream):
            turns = round(frame.rotation / 90) % 4
            size = (height, width) if turns % 2 else (width, height)
            scaled = frame.reformat(*size, "rgb24", interpolation="BICUBIC").to_ndarray()
            pictures.append(np.rot90(scaled, turns))
            stamps.append(len(stamps) if container.format.name == "avi" else frame.pts)
        times = np.array(stamps) * float(stream.time_base) - container.start_time / 1e6
    order = np.argsort(times)
    times = times[order]
    return times, np.stack(pictures)[order], times[-1] + float(np.median(np.diff(times)))


@pytest.mark.slow
def test_real_videos_picture_by_picture(shared_media: Path) -> None:
    files = sorted((shared_media / "video").iterdir())
    assert len(files) == 18
    for file in files:
        times, pictures, end = every_picture(file, 64, 48)
        for num_frames in (1, 5, 8, 33):
            wanted = (np.arange(num_frames) + 0.5) / num_frames * end
            shown = np.maximum(np.searchsorted(times, wanted + 1e-6, "right") - 1, 0)
            values = decode(file, VideoSpec(num_frames, 48, 64)).values[0]
            np.testing.assert_array_equal(values, pictures[shown], err_msg=f"{file.name} {num_frames}")


def test_a_seek_that_goes_too_far_is_made_good(tmp_path):
    file = write_video(tmp_path / "a.ts", EVERY_40_MS, keyframe_every=12)
    assert numbers(decode(file, VideoSpec(8, **SMALL)).values) == exact_numbers(8)
