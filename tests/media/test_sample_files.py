"""The files are real ones, appear whole, and an interrupted folder is taken up again."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest

from avrec.core.errors import ArtefactError
from avrec.core.files import read_json, write_json
from avrec.media.sample.catalogue import Catalogue
from avrec.media.sample.encode import encoded
from avrec.media.sample.sounds import SOUNDS
from avrec.media.sample.truth import read_truth
from avrec.media.sample.users import Audience
from avrec.media.sample.writer import write_sample

av = pytest.importorskip("av")
REPOSITORY = Path(__file__).resolve().parents[2]
AUDIENCE = Audience(Catalogue(seed=5, num_items=5), num_users=6)


@pytest.fixture(scope="module")
def item():
    """A tone, since noise comes out of an encoder as other noise."""
    catalogue = Catalogue(5, 8)
    index = int(np.flatnonzero(catalogue.sound_class == list(SOUNDS).index("rising"))[0])
    return catalogue.sound(index), catalogue.film(index)


def state(folder):
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_file_holds_what_was_synthesised(item):
    sound, film = item
    with av.open(io.BytesIO(encoded(sound, film))) as file:
        video, audio = file.streams.video[0], file.streams.audio[0]
        assert (video.codec_context.name, audio.codec_context.name) == ("h264", "aac")
        assert (video.width, video.height, audio.rate) == (128, 128, sound.rate_hz)
        assert video.average_rate == film.rate_hz
        assert file.duration / av.time_base == pytest.approx(len(film.frames) / film.rate_hz, abs=0.1)
        pictures = list(file.decode(video))
    assert len(pictures) == len(film.frames)
    assert sum(picture.key_frame for picture in pictures) >= len(film.frames) // film.rate_hz
    seen = np.stack([picture.to_ndarray(format="rgb24") for picture in pictures]).astype(float)
    assert np.abs(seen.mean(axis=-1) - film.frames.mean(axis=-1)).mean() < 8
    with av.open(io.BytesIO(encoded(sound, film))) as file:
        heard = np.concatenate([frame.to_ndarray() for frame in file.decode(audio=0)], axis=1)
    assert heard.shape[0] == sound.samples.shape[1]
    length = len(sound.samples)
    assert length <= heard.shape[1] < length + 3 * 1024
    wanted = sound.samples.T / 32_768
    likeness = [
        np.corrcoef(wanted[0, :-2048], heard[0, lag : lag + length - 2048])[0, 1] for lag in (0, 1024)
    ]  # a decoder may or may not cut the encoder's run-up
    assert max(likeness) > 0.95


def test_an_item_may_lack_a_stream(item):
    sound, film = item
    with av.open(io.BytesIO(encoded(sound, None))) as file:
        assert [stream.type for stream in file.streams] == ["audio"]
    with av.open(io.BytesIO(encoded(None, film))) as file:
        assert [stream.type for stream in file.streams] == ["video"]


def test_the_catalogue_leaves_out_what_an_item_lacks():
    catalogue = Catalogue(5, 16)
    for lacking, present, kept in (("has_sound", "has_picture", "video"), ("has_picture", "has_sound", "audio")):
        index = int(np.flatnonzero(~getattr(catalogue, lacking))[0])
        assert getattr(catalogue, present)[index]
        with av.open(io.BytesIO(catalogue.file_bytes(index))) as file:
            assert [stream.type for stream in file.streams] == [kept]


def test_workers_write_what_one_process_writes_and_a_whole_folder_is_left_alone(tmp_path):
    told = []
    assert write_sample(AUDIENCE, tmp_path / "two", 2, lambda *counts: told.append(counts)) == 5
    assert told == [(count, 5) for count in range(1, 6)]
    assert write_sample(AUDIENCE, tmp_path / "one", 1) == 5
    two, one = state(tmp_path / "two"), state(tmp_path / "one")
    assert {name: content for name, (content, _) in two.items()} == {
        name: content for name, (content, _) in one.items()
    }
    assert set(one) == {"sample.json", "truth/truth.json", "truth/utilities.npy"} | set(AUDIENCE.catalogue.paths)
    assert write_sample(AUDIENCE, tmp_path / "two", 2, lambda *counts: pytest.fail("nothing is missing")) == 0
    assert state(tmp_path / "two") == two


def test_an_interrupted_folder_is_taken_up_where_it_stands(tmp_path):
    def stop(count, total):
        if count == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_sample(AUDIENCE, tmp_path, 1, stop)
    before = state(tmp_path)
    assert set(before) == {"sample.json", *AUDIENCE.catalogue.paths[:2]}
    (tmp_path / "files" / ".item00003.mp4.x.tmp").write_bytes(b"what a killed process left")
    assert write_sample(AUDIENCE, tmp_path, 1) == 3
    after = state(tmp_path)
    assert {name: after[name] for name in before} == before
    assert read_truth(tmp_path).item_ids == AUDIENCE.catalogue.item_ids


KILLED = """
import multiprocessing
import os
from avrec.media.sample.catalogue import Catalogue
from avrec.media.sample.users import Audience
from avrec.media.sample.writer import write_sample

def die(count, total):
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    os.kill(os.getpid(), 9)

if __name__ == "__main__":
    write_sample(Audience(Catalogue(5, 64), 6), FOLDER, 2, die)
"""


def test_a_killed_writer_leaves_no_process_behind_and_only_whole_files(tmp_path):
    program = [sys.executable, "-c", KILLED.replace("FOLDER", repr(str(tmp_path)))]
    ended = subprocess.run(program, stdout=subprocess.PIPE, text=True, timeout=60, cwd=REPOSITORY)
    assert ended.returncode == -9
    workers = [int(pid) for pid in ended.stdout.split()]
    assert len(workers) == 2
    psutil.wait_procs([psutil.Process(pid) for pid in workers if psutil.pid_exists(pid)], timeout=20)
    assert not [pid for pid in workers if psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie"]
    catalogue = Catalogue(5, 64)
    stand = [index for index, path in enumerate(catalogue.paths) if (tmp_path / path).exists()]
    assert 1 <= len(stand) < 64
    for index in stand[:3]:
        assert (tmp_path / catalogue.paths[index]).read_bytes() == catalogue.file_bytes(index)


def test_another_sample_or_a_foreign_folder_is_refused(tmp_path):
    fakes = tmp_path / "fakes"
    (fakes / "files").mkdir(parents=True)
    for path in AUDIENCE.catalogue.paths:
        (fakes / path).touch()
    with pytest.raises(ArtefactError, match="exists and is no sample catalogue, so nothing is written there"):
        write_sample(AUDIENCE, fakes, 1)
    write_json(fakes / "sample.json", {"kind": "something else"})
    with pytest.raises(ArtefactError, match="exists and is no sample catalogue"):
        write_sample(AUDIENCE, fakes, 1)
    manifest = {"kind": "avrec sample catalogue", "format_version": 1, "seed": 5, "num_items": 5, "num_users": 6}
    write_json(fakes / "sample.json", manifest)
    assert write_sample(AUDIENCE, fakes, 1) == 0
    assert read_json(fakes / "sample.json") == manifest
    for changed, words in (
        (Audience(Catalogue(6, 5), 6), "seed 5 instead of 6"),
        (Audience(Catalogue(5, 6), 6), "num_items 5 instead of 6"),
        (Audience(Catalogue(5, 5), 7), "num_users 6 instead of 7"),
    ):
        with pytest.raises(ArtefactError, match=f"holds another sample catalogue: {words}. Choose another folder"):
            write_sample(changed, fakes, 1)
