"""The second decoder of pictures gives what the first gives, or says that it cannot."""

import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import av
import numpy as np
import pytest

from avrec.core.clips import AudioSpec, Clips, VideoSpec
from avrec.core.errors import ConfigError, MissingExtraError
from avrec.media.decode import decode
from avrec.media.decord_library import load_decord
from avrec.media.isolation import DecodePool, Job
from avrec.media.limits import Limits
from avrec.media.problems import MediaError
from tests.media.made_files import SIZE, numbers, write_video
from tests.media.test_pictures import damage, exact_numbers

if find_spec("decord") is None:
    pytest.skip("the extra decode is not installed", allow_module_level=True)
decord = load_decord()

EVERY_40_MS = range(0, 4_000, 40)  # 100 pictures
SMALL = {"height_px": SIZE[1], "width_px": SIZE[0], "decoder": "decord"}


def by_both(file: Path, spec: VideoSpec, most: float) -> Clips:
    """By decord, after a comparison with what PyAV gives: `most` grey levels of 255 may lie between them on average."""
    clips, other = decode(file, spec), decode(file, replace(spec, decoder="av"))
    assert spec.decoder == "decord"
    assert clips.values.shape == spec.shape and clips.values.dtype == np.uint8
    assert clips.valid.tolist() == other.valid.tolist() and clips.notes == other.notes
    distance = np.abs(clips.values.astype(int) - other.values).mean(axis=(2, 3, 4))
    assert distance.max() <= most, (file.name, distance)
    return clips


def refused(file: Path, reason: str, spec: VideoSpec | None = None) -> None:
    with pytest.raises(MediaError) as caught:
        decode(file, spec or VideoSpec(4, decoder="decord"))
    assert caught.value.kind == "unreadable"
    assert str(caught.value) == f"{file.name}: decord {reason}; decoder=av reads more"


def test_a_decoder_that_there_is_not() -> None:
    with pytest.raises(ConfigError, match=r"VideoSpec\.decoder is 'eyes'; expected av or decord\."):
        VideoSpec(decoder="eyes")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.webm", "libvpx-vp9"), ("b.webm", "libvpx"), ("a.avi", "mpeg4")],
)
@pytest.mark.parametrize("keyframe_every", [7, 1_000])
def test_exact_pictures_of_every_container(tmp_path: Path, name: str, codec: str, keyframe_every: int) -> None:
    file = write_video(tmp_path / name, EVERY_40_MS, codec=codec, keyframe_every=keyframe_every)
    for num_frames in (1, 8, 150):
        assert numbers(by_both(file, VideoSpec(num_frames, **SMALL), 2).values) == exact_numbers(num_frames)
    seconds = by_both(file, VideoSpec(5, num_clips=2, clip_sec=1.0, **SMALL), 2)
    assert numbers(seconds.values) == [15, 20, 25, 30, 35, 65, 70, 75, 80, 85]


def test_variable_frame_rate_goes_by_time(tmp_path: Path) -> None:
    times = [0, 10, 20, 30, 40, 1_000, 1_010, 3_000, 3_500, 3_600]
    file = write_video(tmp_path / "a.mp4", times)
    wanted = [(place + 0.5) / 9 * 3_610 for place in range(9)]
    expected = [max(k for k, time in enumerate(times) if time <= t) for t in wanted]
    assert numbers(by_both(file, VideoSpec(9, **SMALL), 2).values) == expected


def test_pictures_that_start_after_the_sound(tmp_path: Path) -> None:
    file = write_video(tmp_path / "a.mkv", range(1_000, 3_000, 40), sound=np.zeros(16_000, np.float32))
    assert numbers(by_both(file, VideoSpec(6, **SMALL), 2).values) == [0, 0, 6, 18, 31, 43]


def test_keyframes_only(tmp_path: Path) -> None:
    file = write_video(tmp_path / "a.mp4", EVERY_40_MS, keyframe_every=25)
    clips = by_both(file, VideoSpec(8, sampling="keyframe", **SMALL), 2)
    assert numbers(clips.values) == [0, 25, 25, 50, 50, 75, 75, 75]
    assert clips.notes == ("keyframes: 4 distinct of 8 pictures",)


@pytest.mark.parametrize("angle", [0, 90, 180, 270])
def test_rotation_is_applied(tmp_path: Path, angle: int) -> None:
    file = write_video(tmp_path / "a.mp4", range(0, 400, 40), rotation=angle)
    width, height = SIZE if angle % 180 == 0 else SIZE[::-1]
    by_both(file, VideoSpec(5, height_px=height, width_px=width, decoder="decord"), 2)
    by_both(file, VideoSpec(5, height_px=40, width_px=90, decoder="decord"), 8)


@pytest.mark.parametrize("width", [8, 30, 48, 50, 96, 144, 200])
def test_widths_that_it_pads(tmp_path: Path, width: int) -> None:
    file = write_video(tmp_path / "a.mp4", range(0, 400, 40))
    by_both(file, VideoSpec(3, height_px=40, width_px=width, decoder="decord"), 4)


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_keyframe_that_pictures_before_it_follow(tmp_path: Path, suffix: str) -> None:
    """Open groups, the default of x265: decord's own seeks give others of their pictures."""
    file = write_video(tmp_path / f"a.{suffix}", EVERY_40_MS, codec="libx265", keyframe_every=20)
    keyframes = decord.VideoReader(str(file)).get_key_indices()
    assert len(keyframes) == 5 and 40 not in keyframes
    assert numbers(by_both(file, VideoSpec(50, **SMALL), 2).values) == exact_numbers(50)
    assert numbers(by_both(file, VideoSpec(5, sampling="keyframe", **SMALL), 2).values) == [0, 20, 40, 60, 80]


def test_seeks_where_they_can_be_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_video(tmp_path / "a.mp4", EVERY_40_MS, keyframe_every=10)
    calls: list[int] = []
    read = decord.VideoReader.next
    monkeypatch.setattr(decord.VideoReader, "next", lambda reader: calls.append(1) or read(reader))
    assert numbers(decode(file, VideoSpec(2, **SMALL)).values) == [25, 75]
    assert len(calls) == 2


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_a_file_that_breaks_off(tmp_path: Path, suffix: str) -> None:
    """Now and then a thread of decord meets the cut packet before the pictures are out; then it says whom to ask."""
    file = write_video(tmp_path / f"a.{suffix}", EVERY_40_MS, keyframe_every=5)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    try:
        clips = by_both(file, VideoSpec(4, **SMALL), 2)
    except MediaError as error:
        assert "decord cannot read it (Check failed: avcodec_send_packet" in str(error)
        assert str(error).endswith("decoder=av reads more")
    else:
        assert clips.notes[0].startswith("short: ")


def test_what_it_cannot_find_its_way_in(tmp_path: Path) -> None:
    file = write_video(tmp_path / "a.ts", EVERY_40_MS, keyframe_every=12)
    refused(file, "cannot be trusted to find pictures in mpegts")


def test_damage_is_refused(tmp_path: Path) -> None:
    file = write_video(tmp_path / "a.mp4", EVERY_40_MS, keyframe_every=10)
    damage(file, range(50, 60))
    with pytest.raises(MediaError) as caught:
        decode(file, VideoSpec(20, **SMALL))
    assert caught.value.kind == "unreadable"
    assert str(caught.value).startswith("a.mp4: decord cannot read it (Check failed: ")
    assert str(caught.value).endswith("); decoder=av reads more") and "\n" not in str(caught.value)


def test_a_start_that_needs_what_was_cut_away(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "a.mkv", EVERY_40_MS, keyframe_every=10)
    with av.open(str(whole)) as source, av.open(str(tmp_path / "b.mkv"), "w") as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        for packet in [packet for packet in source.demux(video=0) if packet.size][4:]:
            packet.stream = stream
            out.mux(packet)
    refused(tmp_path / "b.mkv", "cannot read a stream that does not begin with a keyframe")


def test_another_stream_than_the_largest(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mkv"), "w") as out:
        small, large = (out.add_stream("mpeg4", rate=25) for _ in range(2))
        for stream, size in ((small, 32), (large, 64)):
            stream.width = stream.height = size
            stream.pix_fmt = "yuv420p"
        small.disposition, large.disposition = av.stream.Disposition.default, av.stream.Disposition(0)
        for stream, size in ((small, 32), (large, 64)):
            for _ in range(5):
                frame = av.VideoFrame.from_ndarray(np.full((size, size, 3), 90, np.uint8), format="rgb24")
                out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
    refused(tmp_path / "a.mkv", "would read another stream than 1")


def shorter(reader: object) -> object:
    raise StopIteration


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("next", shorter, "gives fewer than the 100 pictures that the file lists"),
        ("get_frame_timestamp", lambda _, idx: np.stack([idx, idx], 1) * 0.05, "lists its pictures at other times"),
    ],
)
def test_less_than_it_claims(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, change: object, reason: str
) -> None:
    file = write_video(tmp_path / "a.mp4", EVERY_40_MS)
    monkeypatch.setattr(decord.VideoReader, name, change)
    refused(file, reason)


def test_a_number_of_pictures_that_is_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_video(tmp_path / "a.avi", EVERY_40_MS, codec="mpeg4")
    monkeypatch.setattr(decord.VideoReader, "__len__", lambda reader: 99)
    refused(file, "lists 99 pictures where the file holds 100")


def test_limits_come_before_it_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_video(tmp_path / "a.mp4", EVERY_40_MS)
    monkeypatch.delattr(decord, "VideoReader")
    for limits, text in (
        (Limits(max_pixels=3_000), "3072 pixels a picture, more than the limit of 3000"),
        (Limits(max_duration_sec=3.0), "4 seconds, more than the limit of 3"),
    ):
        with pytest.raises(MediaError, match=text) as caught:
            decode(file, VideoSpec(2, decoder="decord"), limits)
        assert caught.value.kind == "too_large"


def test_processes_have_it_loaded_only_for_a_spec_that_asks(tmp_path: Path) -> None:
    file = write_video(tmp_path / "a.mp4", EVERY_40_MS)
    spec = VideoSpec(4, **SMALL)
    for specs in ([AudioSpec(), VideoSpec()], [AudioSpec(), spec]):
        with DecodePool(tmp_path, 1, specs=specs) as pool:
            [outcome] = pool.decode([Job(0, "gone.mp4", spec)])
            assert outcome.problem.kind == "missing"
            [pid] = pool.pids
            loaded = "libdecord" in Path(f"/proc/{pid}/maps").read_text()
            assert loaded == (spec in specs)
            [outcome] = pool.decode([Job(1, file.name, spec)])
        np.testing.assert_array_equal(outcome.clips.values, decode(file, spec).values)


BESIDE_FAISS = """
import sys
from pathlib import Path
import numpy as np
from avrec.core.clips import VideoSpec
from avrec.media.decode import decode
from avrec.retrieval.clusters import k_means

decode(Path(sys.argv[1]), VideoSpec(2, decoder="decord"))
maps = Path("/proc/self/maps").read_text()
assert "libdecord" in maps and "libnvblas" not in maps, "it has lent the libraries of CUDA to everyone"
assert "nvidia" not in sys.modules
k_means(np.random.default_rng(0).random((5_000, 64), np.float32), 64, seed=0)
print("both worked")
"""


def test_it_leaves_the_linear_algebra_of_the_process_alone(tmp_path: Path) -> None:
    """Imported plainly, it makes FAISS multiply by NVBLAS: a segmentation fault where there is no GPU."""
    file = write_video(tmp_path / "a.mp4", EVERY_40_MS)
    command = [sys.executable, "-c", BESIDE_FAISS, str(file)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (0, "both worked\n"), run.stderr[-2000:]


def test_what_had_loaded_libraries_of_cuda_keeps_them(monkeypatch: pytest.MonkeyPatch) -> None:
    package = ModuleType("nvidia")
    monkeypatch.setitem(sys.modules, "nvidia", package)
    monkeypatch.setitem(sys.modules, "decord", None)
    with pytest.raises(MissingExtraError, match="avrec\\[decode\\]"):
        load_decord()
    assert sys.modules["nvidia"] is package


def test_real_files(shared_media: Path) -> None:
    for name in (
        "bbb_rotated90.mp4",
        "bbb_h264_flac_22k.mkv",
        "bbb_vp9_opus.webm",
        "nasa_13013.mp4",
        "mmaction_test.avi",
    ):
        file = shared_media / "video" / name
        by_both(file, VideoSpec(3, 64, 96, decoder="decord"), 8)
        by_both(file, VideoSpec(3, 64, 64, sampling="keyframe", decoder="decord"), 8)
    by_both(shared_media / "video/bbb_h264_flac_22k.mkv", VideoSpec(3, 240, 426, decoder="decord"), 2)
    no_duration = "cannot read it (Failed to measure duration/frame-count due to broken metadata.)"
    refused(shared_media / "odd/no_duration.webm", no_duration)


@pytest.mark.slow
def test_every_real_film(shared_media: Path) -> None:
    for file in sorted((shared_media / "video").iterdir()):
        by_both(file, VideoSpec(8, 224, 224, decoder="decord"), 8)
