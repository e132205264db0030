"""MicroLens in its published layout: a tiny copy with real short videos."""

import numpy as np
import pytest

from avrec.core.errors import DataError
from avrec.data.options import PrepareOptions
from avrec.data.prepare import prepare
from avrec.data.prepared import load_dataset
from avrec.data.sources.microlens import MicroLensSource
from avrec.data.splits import LeaveLastOut
from avrec.evaluation.protocols import protocol_named

SECOND_MS = 1000


@pytest.fixture
def folder(tmp_path):
    """Three users; the first has 15 events of one minute's distance, the last two of his in the same second."""
    folder = tmp_path / "MicroLens-100k"
    (folder / "MicroLens-100k_videos").mkdir(parents=True)
    rows = [(7, item, 1_600_000_000_000 + min(item, 14) * 60 * SECOND_MS) for item in range(1, 16)]
    rows += [(8, 3, 1_600_000_000_500), (8, 4, 1_600_000_001_000), (8, 5, 1_600_000_002_000)]
    rows += [(9, 5, 1_600_000_009_999), (9, 6, 1_600_000_000_000), (9, 15, 1_600_000_020_000)]
    lines = "".join(f"{user},{item},{time}\n" for user, item, time in rows)
    (folder / "MicroLens-100k_pairs.csv").write_text("user,item,timestamp\n" + lines)
    (folder / "MicroLens-100k_title_en.csv").write_text('3,"Rain, and a dog"\n4,Bread\n99,Nobody\n4,Twice\n')
    (folder / "tags_to_summary.csv").write_text("item,category\n3,Animals\n5,Food\n")
    (folder / "MicroLens-100k_likes_and_views.txt").write_text("3\t10\t1000\n4\t2\t50\n")
    for item in (3, 4, 99):
        (folder / "MicroLens-100k_videos" / f"{item}.mp4").write_bytes(b"film")
    return folder


def made(folder, tmp_path, **options):
    source = MicroLensSource(folder, **options)
    return load_dataset(prepare(source, LeaveLastOut(ties="file"), PrepareOptions(min_item_events=1), tmp_path / "out"))


def test_the_last_thirteen_events_of_each_user(folder, tmp_path, parts_of):
    dataset = made(folder, tmp_path)
    parts = parts_of(dataset)
    assert parts["test"] == [("7", "15"), ("8", "5"), ("9", "15")]
    assert parts["validation"] == [("7", "14"), ("8", "4"), ("9", "5")]
    assert {item for user, item in parts["train"] if user == "7"} == {str(item) for item in range(3, 14)}
    assert dataset.items.index(["1", "2"]).tolist() == [-1, -1]  # whoever fell out of the cut has no event
    protocol_named("microlens").check({"name": "LeaveLastOut"}, dataset)


def test_every_event_where_the_cut_is_off(folder, tmp_path):
    dataset = made(folder, tmp_path, last_events=None)
    assert len(dataset.train) + len(dataset.validation) + len(dataset.test) == 21


def test_titles_categories_and_films(folder, tmp_path):
    dataset = made(folder, tmp_path)
    three, four, five = dataset.items.index(["3", "4", "5"])
    titles = dataset.texts["title"]
    assert (titles[three], titles[four], titles[five]) == ("Rain, and a dog", "Bread", None)
    category = dataset.item_fields["category"]
    assert category.names.ids([category.code[three], category.code[five]]) == ["Animals", "Food"]
    assert not {"likes", "views"} & set(dataset.item_fields)  # counted after the held-out events
    for kind in ("audio", "video"):
        assert np.flatnonzero(dataset.media[kind].present).tolist() == sorted([three, four])
        assert dataset.media[kind].paths[three] == "MicroLens-100k_videos/3.mp4"


def test_a_folder_of_sounds_is_taken_for_sound(folder, tmp_path):
    (folder / "MicroLens-100k_audios").mkdir()
    (folder / "MicroLens-100k_audios" / "5.wav").write_bytes(b"sound")
    dataset = made(folder, tmp_path)
    assert dataset.media["audio"].paths[dataset.items.index(["5"])[0]] == "MicroLens-100k_audios/5.wav"
    assert dataset.media["audio"].present.sum() == 1


def test_no_log_and_bad_rows_are_told(folder, tmp_path):
    log = folder / "MicroLens-100k_pairs.csv"
    log.write_text(log.read_text() + "9,6,soon\n")
    with pytest.raises(DataError, match=r"MicroLens-100k_pairs[.]csv row 22: timestamp is 'soon'"):
        made(folder, tmp_path)
    log.unlink()
    with pytest.raises(DataError, match=r"expected one log named like MicroLens-100k_pairs[.]csv; found none"):
        MicroLensSource(folder).read()
