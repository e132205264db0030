from pathlib import Path

import numpy as np
import pytest
import soundfile

from avrec.core.clips import AudioSpec, Clips
from avrec.media.container import open_container
from avrec.media.decode import decode
from avrec.media.probe import describe
from avrec.media.problems import MediaError
from avrec.media.sound_sources import ContainerSource, SoundFileSource
from tests.media.made_files import write_video

RATE = 16_000


def music(seconds: float, rate: int = RATE) -> np.ndarray:
    """Tones that come and go, so that no two stretches are alike; below 3.5 kHz, so that every rate holds it."""
    time = np.arange(round(seconds * rate)) / rate
    partials = [(0.2, 220, 0.37), (0.15, 703, 0.61), (0.1, 1_511, 1.13), (0.05, 3_301, 2.3)]
    return sum(
        loud * np.sin(2 * np.pi * pitch * time) * np.sin(2 * np.pi * slow * time) for loud, pitch, slow in partials
    )


def wav(path: Path, sound: np.ndarray, rate: int = RATE, subtype: str = "FLOAT") -> Path:
    soundfile.write(path, sound, rate, subtype=subtype)
    return path


def kind_of(path: Path, clip_sec: float = 1.0) -> str:
    with pytest.raises(MediaError, match=path.name) as caught:
        decode(path, AudioSpec(RATE, clip_sec))
    return caught.value.kind


def test_clips_lie_where_the_spec_puts_them(tmp_path: Path) -> None:
    sound = music(6.0).astype(np.float32)
    clips = decode(wav(tmp_path / "a.wav", sound), AudioSpec(RATE, clip_sec=1.0, num_clips=3))
    for clip, start in zip(clips.values, (0.5, 2.5, 4.5), strict=True):
        np.testing.assert_array_equal(clip, sound[round(start * RATE) :][:RATE])
    assert clips.valid.tolist() == [1, 1, 1] and clips.notes == ()


def test_a_short_file_is_padded_at_its_end(tmp_path: Path) -> None:
    sound = music(0.5).astype(np.float32)
    for rate in (RATE, 8_000):
        clips = decode(wav(tmp_path / "a.wav", sound), AudioSpec(rate, clip_sec=2.0, num_clips=2))
        assert clips.values.shape == (2, 2 * rate) and clips.valid.tolist() == [0.25, 0.25]
        assert not clips.values[:, rate // 2 :].any() and clips.values[:, : rate // 2].any()
    np.testing.assert_array_equal(decode(tmp_path / "a.wav", AudioSpec(RATE, 2.0)).values[0, : RATE // 2], sound)


def test_one_sound_at_eight_rates_is_one_waveform(tmp_path: Path) -> None:
    spec = AudioSpec(RATE, clip_sec=1.0, num_clips=2)
    read = []
    for rate in (8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000):
        read.append(decode(wav(tmp_path / f"{rate}.wav", music(3.3, rate), rate), spec).values)
    for values in read:
        assert np.abs(values - read[2]).max() < 1e-3


@pytest.mark.parametrize("rate", [22_050, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("seconds", [1.0, 3.0])  # a clip with the ends of the file, and one from its middle
def test_tones_above_the_new_nyquist_are_gone_from_the_whole_clip(tmp_path: Path, rate: int, seconds: float) -> None:
    for frequency in (8_500, 10_000):
        time = np.arange(round(seconds * rate)) / rate
        tones = 0.5 * np.sin(2 * np.pi * frequency * time + 0.7) + 1e-3 * np.sin(2 * np.pi * 500 * time)
        values = decode(wav(tmp_path / "a.wav", tones, rate), AudioSpec(RATE, clip_sec=1.0)).values[0]
        at = (seconds - 1) / 2 + np.arange(RATE) / RATE
        left = values - 1e-3 * np.sin(2 * np.pi * 500 * at)
        edge = 0 if seconds > 1 else RATE // 50  # an abrupt start is a click, and that does hold lower frequencies
        left = left[edge : RATE - edge]
        assert np.sqrt(np.mean(left**2)) < (1e-4 if seconds > 1 else 1e-3) * np.sqrt(np.mean(tones**2))


def test_channels_are_averaged(tmp_path: Path) -> None:
    one, two = music(1.0), 0.5 * music(1.7)[:RATE]
    clips = decode(wav(tmp_path / "a.wav", np.stack([one, two], 1)), AudioSpec(RATE, 1.0))
    np.testing.assert_allclose(clips.values[0], (one + two) / 2, atol=1e-6)  # the mean: no 3 dB more


def test_channels_that_cancel_give_the_loudest(tmp_path: Path) -> None:
    sound = music(1.0)
    clips = decode(wav(tmp_path / "a.wav", np.stack([0.5 * sound, 0.5 * sound, -sound], 1)), AudioSpec(RATE, 1.0))
    np.testing.assert_allclose(clips.values[0], -sound, atol=1e-6)
    assert clips.notes == ("cancels: the mean of the 3 channels is silent; channel 2 is read",)


def test_float_sound_beyond_full_scale_is_scaled(tmp_path: Path) -> None:
    sound = 8 * music(1.0) / np.abs(music(1.0)).max()
    clips = decode(wav(tmp_path / "a.wav", sound), AudioSpec(RATE, 1.0))
    np.testing.assert_allclose(clips.values[0], sound / 8, atol=1e-6)
    assert clips.notes == ("loud: peak 8.00 of full scale; scaled to 1",)


@pytest.mark.parametrize(
    ("sound", "kind"),
    [
        (np.zeros(RATE), "silent"),
        (np.full(RATE, 3e-5), "silent"),
        (np.array([*np.zeros(RATE), np.nan]), "non_finite"),
        (np.array([*np.ones(RATE), -np.inf]), "non_finite"),
        (np.ones(RATE // 25), "too_short"),
        (np.ones(0), "too_short"),
    ],
)
def test_what_cannot_be_used(tmp_path: Path, sound: np.ndarray, kind: str) -> None:
    assert kind_of(wav(tmp_path / "a.wav", sound), 2.0) == kind


def test_a_quiet_recording_is_sound(tmp_path: Path) -> None:
    assert decode(wav(tmp_path / "a.wav", 2e-3 * music(1.0)), AudioSpec(RATE, 1.0)).values.any()


def test_no_sound_stream(tmp_path: Path) -> None:
    assert kind_of(write_video(tmp_path / "a.mp4", range(0, 400, 40))) == "no_stream"


@pytest.mark.parametrize("suffix", ["flac", "ogg", "mp3", "wav"])
def test_seeking_gives_what_reading_everything_gives(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"a.{suffix}"
    soundfile.write(file, np.stack([music(20.0, 44_100), 0.3 * music(20.0, 44_100)], 1), 44_100)
    with SoundFileSource(file) as source:
        whole = source.read(0, source.num_samples)
        for first in (441_000, 123_457, 0, 800_000):
            np.testing.assert_array_equal(source.read(first, 44_100), whole[first : first + 44_100])
        assert len(source.read(source.num_samples - 10, 100)) == 10
        assert len(source.read(source.num_samples + 10, 100)) == 0
        assert source.count(10**9) == len(whole)


@pytest.mark.parametrize(("suffix", "lag"), [("mp4", 0), ("mkv", 8), ("mov", 0), ("avi", 0)])  # mkv stores milliseconds
def test_seeking_in_a_container_lands_on_the_sample(tmp_path: Path, suffix: str, lag: int) -> None:
    sound = music(8.0) + 0.05 * np.random.default_rng(0).standard_normal(8 * RATE)
    codec = "mpeg4" if suffix == "avi" else "libx264"
    file = write_video(tmp_path / f"a.{suffix}", range(0, 8_000, 40), codec=codec, sound=sound, keyframe_every=100)
    with open_container(file) as container:
        source = ContainerSource(container, describe(container).sound)
        whole = source.read(0, 8 * RATE)[:, 0]
        for first in (0, 500, 4_000, 40_000, 76_543, 100_000, 12_345):
            part = source.read(first, RATE)[:, 0]
            errors = [
                np.abs(part[lag + 1 :][:8_000] - whole[first + lag + 1 + shift :][:8_000]).mean()
                for shift in range(-lag, lag + 1)
            ]
            assert min(errors) < 4e-3, first  # AAC fills noise with random numbers of its own
        assert abs(source.count(10**9) - 8 * RATE) <= 2_048


def test_sound_that_starts_late_comes_after_silence(tmp_path: Path) -> None:
    sound = music(2.0)
    file = write_video(tmp_path / "a.mkv", range(0, 2_480, 40), sound=sound, sound_starts_ms=500)
    clips = decode(file, AudioSpec(RATE, clip_sec=2.5))
    assert not clips.values[0, : RATE // 2].any()
    np.testing.assert_allclose(clips.values[0, RATE // 2 :], sound, atol=1e-3)
    assert clips.valid.tolist() == [1]
    later = decode(file, AudioSpec(RATE, clip_sec=0.5, num_clips=5)).values  # by seeks: in step with the pictures
    np.testing.assert_allclose(later[3], sound[RATE:][: RATE // 2], atol=0.05)


def test_a_header_that_claims_too_much(tmp_path: Path) -> None:
    file = wav(tmp_path / "a.wav", music(10.0), subtype="PCM_16")
    file.write_bytes(file.read_bytes()[: 44 + 2 * RATE])
    clips = decode(file, AudioSpec(RATE, clip_sec=1.0))
    np.testing.assert_allclose(clips.values[0], music(10.0)[:RATE], atol=1e-4)
    assert clips.notes == ("short: 1.00 s of 10.0 s could be read",)

    video = write_video(tmp_path / "b.mkv", range(0, 6_000, 40), sound=music(6.0), keyframe_every=25)
    video.write_bytes(video.read_bytes()[: video.stat().st_size // 3])
    clips = decode(video, AudioSpec(RATE, clip_sec=1.0))
    assert clips.valid.tolist() == [1]
    assert clips.notes[0].startswith("short: 1.") and clips.notes[0].endswith("s of 6.0 s could be read")


def test_nothing_behind_the_header_is_truncated(tmp_path: Path) -> None:
    file = wav(tmp_path / "a.wav", music(10.0), subtype="PCM_16")
    file.write_bytes(file.read_bytes()[: 44 + 100])
    assert kind_of(file) == "truncated"


def test_silence_before_the_file_breaks_off_is_truncated(tmp_path: Path) -> None:
    file = wav(tmp_path / "a.wav", np.concatenate([np.zeros(2 * RATE), music(8.0)]), subtype="PCM_16")
    file.write_bytes(file.read_bytes()[: 44 + 2 * RATE])
    with pytest.raises(MediaError, match=r"and only 1\.00 s of 10\.0 s could be read") as caught:
        decode(file, AudioSpec(RATE, 1.0))
    assert caught.value.kind == "truncated"


def test_a_header_written_into_a_pipe_claims_nothing(tmp_path: Path) -> None:
    file = wav(tmp_path / "a.wav", music(2.0), subtype="PCM_16")
    content = bytearray(file.read_bytes())
    content[4:8] = content[40:44] = b"\xff" * 4
    file.write_bytes(content)
    assert decode(file, AudioSpec(RATE, 1.0)).notes == ()


def test_a_length_that_is_found_to_be_above_the_limit(tmp_path: Path) -> None:
    video = write_video(tmp_path / "b.mkv", range(0, 3_000, 40), sound=music(3.0))
    with open_container(video) as container:
        source = ContainerSource(container, describe(container).sound)
        assert 2 * RATE < source.count(2 * RATE) < 3 * RATE  # stops soon after


def check(clips: Clips, seconds: float) -> None:
    assert clips.valid[0] == pytest.approx(seconds / 4, abs=0.01) and np.isfinite(clips.values).all()


def test_real_files_of_every_kind(shared_media: Path) -> None:
    """Near duplicates: the same seconds out of different codecs, rates and containers agree."""
    spec = AudioSpec(RATE, 4.0)
    for one, two in (
        ("audio/hungarian_dance.ogg", "audio/hungarian_dance.hq.ogg"),
        ("audio/vibe_ace.ogg", "audio/vibe_ace.hq.ogg"),
        ("video/mmaction_test.avi", "audio/mmaction_16k_stereo.wav"),
    ):
        first, second = (decode(shared_media / name, spec).values[0] for name in (one, two))
        assert first @ second / np.sqrt((first @ first) * (second @ second)) > 0.97, (one, two)
    check(decode(shared_media / "odd/wrong_duration.mp3", spec), 0.41)
    check(decode(shared_media / "odd/truncated_half.webm", spec), 0.135)
