import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from avrec.media.container import open_container
from avrec.media.limits import Limits
from avrec.media.probe import check_limits, probe
from avrec.media.problems import MediaError
from tests.media.made_files import write_video


def test_what_the_headers_say(tmp_path: Path) -> None:
    file = write_video(tmp_path / "a.mkv", range(0, 1000, 40), sound=np.full(8000, 0.5), sound_starts_ms=250)
    info = probe(file)
    assert info.pictures is not None and info.sound is not None
    assert (info.pictures.codec, info.pictures.width_px, info.pictures.height_px) == ("h264", 64, 48)
    assert (info.sound.sample_rate_hz, info.sound.num_channels) == (16_000, 1)
    assert info.sound.start_sec == pytest.approx(0.25, abs=1e-3)
    assert info.duration_sec == pytest.approx(1.0, abs=0.05)
    assert info.sound.notes == info.pictures.notes == ()


@pytest.mark.parametrize("name", ["-x.wav", "http:a.wav", "concat:a|b.wav", "%d.wav", "mit Leer zeichen ü.wav"])
def test_a_name_is_only_a_name(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    soundfile.write(tmp_path / "plain.wav", np.ones(1600), 16_000)
    (tmp_path / "plain.wav").rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert probe(Path(name)).duration_sec == pytest.approx(0.1)


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nreal.wav\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile real.wav\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
    ],
)
@pytest.mark.parametrize("suffix", [".m3u8", ".mp4", ".ffconcat", ".sdp"])
def test_playlists_are_not_opened(tmp_path: Path, text: str, suffix: str) -> None:
    soundfile.write(tmp_path / "real.wav", np.ones(1600), 16_000)
    (tmp_path / f"list{suffix}").write_text(text)
    with pytest.raises(MediaError, match=f"list{re.escape(suffix)}: FFmpeg cannot read it") as caught:
        probe(tmp_path / f"list{suffix}")
    assert caught.value.kind == "unreadable"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"^gone\.mp4: there is no such file$") as caught:
        probe(tmp_path / "gone.mp4")
    assert caught.value.kind == "missing"


def test_errors_of_ffmpeg_inside_the_block_are_ours(tmp_path: Path) -> None:
    import av

    soundfile.write(tmp_path / "a.wav", np.ones(1600), 16_000)
    with (
        pytest.raises(MediaError, match=r"a\.wav: FFmpeg cannot read it \(broken\)"),
        open_container(tmp_path / "a.wav"),
    ):
        raise av.error.InvalidDataError(1, "broken")


@pytest.mark.parametrize(
    ("limits", "text"),
    [
        (Limits(max_pixels=64 * 48 - 1), r"a\.mp4: 3072 pixels a picture, more than the limit of 3071"),
        (Limits(max_duration_sec=0.9), r"a\.mp4: 1 seconds, more than the limit of 0\.9"),
        (Limits(max_file_bytes=100), r"bytes, more than the limit of 100"),
    ],
)
def test_claims_above_the_limits_are_refused(tmp_path: Path, limits: Limits, text: str) -> None:
    file = write_video(tmp_path / "a.mp4", range(0, 1000, 40))
    info = probe(file)
    check_limits(file, info, Limits(max_pixels=64 * 48, max_duration_sec=1.0))
    with pytest.raises(MediaError, match=text) as caught:
        check_limits(file, info, limits)
    assert caught.value.kind == "too_large"


def test_too_many_channels_are_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.ones((1600, 3)), 16_000)
    with pytest.raises(MediaError, match=r"3 sound channels, more than the limit of 2"):
        check_limits(tmp_path / "a.wav", probe(tmp_path / "a.wav"), Limits(max_channels=2))


def test_covers_and_several_streams_of_real_files(shared_media: Path) -> None:
    for name in ("audio/vibe_ace.ogg", "odd/cover_art.mp3"):
        assert probe(shared_media / name).pictures is None  # a cover is no moving picture
        assert probe(shared_media / name).sound is not None
    two = probe(shared_media / "video/nasa_13013.mp4")
    assert two.pictures is not None and (two.pictures.width_px, two.pictures.height_px) == (480, 270)
    assert two.pictures.notes == ("streams: of 2 with pictures, the largest, 480x270, is read",)
    assert two.sound is not None and two.sound.notes == ("streams: of 2 with sound, stream 4 is read",)
