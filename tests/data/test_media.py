"""Media columns: from a table of paths to a prepared data set and back."""

import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from avrec.core.errors import ArtefactError, DataError
from avrec.data.arrow import TEXT
from avrec.data.options import PrepareOptions
from avrec.data.prepare import prepare
from avrec.data.prepared import load_dataset
from avrec.data.sources.tables import TablesSource
from avrec.data.splits import RandomSplit, UserTimeSplit

ROWS = [{"user_id": f"u{n % 4}", "item_id": f"i{n % 11}", "day": n} for n in range(40)]
FILES = ["one.mp3", "two.mp4", "deep/three.mp4"]


def text(*values):
    return pa.array(values, TEXT)


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "media"
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"any")
    return folder


MEDIA = {
    "audio": (text("i1", "i10", "i2"), text("one.mp3", "two.mp4", None)),
    "video": (text("i11", "i10"), text("deep/three.mp4", "two.mp4")),
}


@pytest.fixture
def prepared(make_source, root, tmp_path):
    """Changes of RawData -> the prepared folder; the catalogue holds i0 to i11, i11 without an event."""

    def make(folder="data", options=None, **changes):
        others = {"items": [f"i{n}" for n in range(12)], "media": MEDIA, "media_root": root} | changes
        return prepare(make_source(ROWS, **others), UserTimeSplit(), options or PrepareOptions(), tmp_path / folder)

    return make


def problems_of(make, *arguments, **changes):
    with pytest.raises(DataError) as error:
        make(*arguments, **changes)
    return error.value.problems


def test_paths_come_back_by_item_index(prepared, root):
    folder = prepared()
    dataset = load_dataset(folder)
    assert dataset.media_root == str(root) and list(dataset.media) == ["audio", "video"]
    for kind, expected in (
        ("audio", {"i1": "one.mp3", "i10": "two.mp4"}),
        ("video", {"i10": "two.mp4", "i11": "deep/three.mp4"}),
    ):
        column = dataset.media[kind]
        assert column.paths == tuple(expected.get(name) for name in dataset.items.array.to_pylist())
        assert column.present.tolist() == [name in expected for name in dataset.items.array.to_pylist()]
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["media"] == {"audio": {"items": 2}, "video": {"items": 2}}
    assert manifest["missing_media"] == {"audio": [], "video": []}
    assert dataset.items.index(["i11"])[0] >= 0 and dataset.cold_items[dataset.items.index(["i11"])[0]]


def test_without_media_nothing_has_changed(make_source, tmp_path):
    """A hash that no media column may change; a side field may even have the name of a media column."""
    items = pa.table({"item_id": text(*(f"i{n}" for n in range(12))), "audio_path": pa.array(["x.mp3"] * 12)})
    features = {"audio": (text(*(f"i{n}" for n in range(9))), np.eye(9, 5, dtype=np.float32) + 1)}
    social = pa.table({"user_id": ["u1"], "friend_id": ["u2"]})
    source = make_source(ROWS, items=items, features=features, social=social)
    folder = prepare(source, UserTimeSplit(0.2, 0.2), PrepareOptions(), tmp_path / "data")
    dataset = load_dataset(folder, media_root="elsewhere")
    assert dataset.content_hash == "dbc9f19729b16524cc8d97a4c289c47d514d32ff87f060422960fe3ba69c91ef"
    assert dataset.media == {} and dataset.media_root is None
    assert not {"media", "media_root", "missing_media"} & json.loads((folder / "manifest.json").read_text()).keys()


def test_the_hash_knows_paths_and_not_the_root(prepared, root, tmp_path):
    moved = tmp_path / "moved"
    root.rename(moved)
    moved_set = load_dataset(prepared("moved_data", media_root=moved))
    moved.rename(root)
    plain = load_dataset(prepared())
    assert plain.content_hash == moved_set.content_hash and plain.media_root != moved_set.media_root
    assert load_dataset(tmp_path / "data", media_root=moved).media_root == str(moved)
    ids, paths = MEDIA["audio"]
    for number, media in enumerate(
        (
            MEDIA | {"audio": (ids, text("two.mp4", "two.mp4", None))},
            MEDIA | {"audio": (ids, text("one.mp3", None, "two.mp4"))},
            {"audio": MEDIA["audio"]},
            {"video": MEDIA["audio"]},
        )
    ):
        assert load_dataset(prepared(f"other{number}", media=media)).content_hash != plain.content_hash
    mixed = pa.array([2, 0, 1])
    shuffled = prepared("shuffled", media=MEDIA | {"audio": (ids.take(mixed), paths.take(mixed))})
    assert load_dataset(shuffled).content_hash == plain.content_hash


def test_a_relative_root_is_kept_whole(prepared, root, monkeypatch):
    monkeypatch.chdir(root.parent)
    assert load_dataset(prepared(media_root=Path("media"))).media_root == str(root)


def test_an_item_that_only_media_knows(prepared):
    media = {"audio": (text("i1", "new"), text("one.mp3", "two.mp4"))}
    assert problems_of(prepared, media=media, options=PrepareOptions(unknown_items="error")) == [
        "audio row 2: item_id is 'new'; not in items. Add the item there, or set unknown_items to add or drop."
    ]
    dataset = load_dataset(prepared(media=media))
    assert dataset.media["audio"].paths[dataset.items.index(["new"])[0]] == "two.mp4"
    dropped = load_dataset(prepared("dropped", media=media, options=PrepareOptions(unknown_items="drop")))
    assert "new" not in dropped.items.array.to_pylist() and dropped.media["audio"].present.sum() == 1


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {"features": {"audio": (text("i1"), np.ones((1, 2), np.float32))}},
            "audio: 'audio' is a modality of features and of media. Give the features another name.",
        ),
        (
            {"items": pa.table({"item_id": text(*(f"i{n}" for n in range(12))), "video_path": ["x"] * 12})},
            "items: column 'video_path' is a name that avrec itself writes. Rename the column.",
        ),
        ({"media_root": None}, "media_root: None is no folder. Give the folder that the media paths start from."),
        ({"media_root": Path("nowhere")}, "media_root: nowhere is no folder. Give the folder that the media paths"),
        ({"media": {"smell": MEDIA["audio"]}}, "smell: media of the kind 'smell'; expected audio or video."),
        (
            {"media": {"audio": (text("i1", "i2"), text(None, None))}},
            "audio: no item has a path in 'audio'. Fill the column or drop it.",
        ),
        (
            {"media": {"audio": (text("i1", "i1"), text("one.mp3", "two.mp4"))}},
            "audio: an item_id of 'audio' is empty or occurs twice. Keep one path for each item.",
        ),
        (
            {"media": {"audio": (text("i1", None), text("one.mp3", "two.mp4"))}},
            "audio: an item_id of 'audio' is empty or occurs twice.",
        ),
        (
            {"media": {"audio": (text("i1"), text("one.mp3", "two.mp4"))}},
            "audio: 2 audio paths for 1 items. Give one for each item.",
        ),
    ],
)
def test_columns_that_cannot_be_used(prepared, changes, problem):
    (line,) = problems_of(prepared, **changes)
    assert line.startswith(problem)


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "../secret.mp3", "deep/../../secret.mp3", "https://a.b/c.mp3", "list.m3u8", "deep", "leak.mp3"],
)
def test_a_path_that_leaves_the_root_stops_preparation(prepared, root, path):
    (root.parent / "secret.mp3").write_bytes(b"secret")
    (root / "list.m3u8").write_bytes(b"secret.mp3")
    os.symlink(root.parent / "secret.mp3", root / "leak.mp3")
    assert problems_of(prepared, media={"video": (text("i1", "i2"), text("two.mp4", path))}) == [
        f"video row 2: video is '{path}'; expected the path of a local file below media_root: not absolute, no '..', no link "
        "that leads out, no URL, no playlist. Write such a path, or leave the cell empty."
    ]


def test_missing_files_are_told_and_stop_nothing(prepared):
    names = [f"gone{n}.mp3" for n in range(7)]
    ids = text(*(f"i{n}" for n in range(9)))
    media = {"audio": (ids, text(None, *names, "one.mp3"))}
    folder = prepared(media=media)
    assert json.loads((folder / "manifest.json").read_text())["missing_media"] == {
        "audio": [
            *(
                f"audio row {n + 2}: audio is 'gone{n}.mp3'; not there below media_root, or not readable. "
                "Until it is, the item goes without it."
                for n in range(5)
            ),
            "audio: 2 more rows with this problem in audio, 7 in all.",
        ]
    }
    assert load_dataset(folder).media["audio"].present.sum() == 8


def test_a_root_without_any_of_the_files_is_a_wrong_root(prepared, root):
    assert problems_of(prepared, media={"audio": (text("i1", "i2"), text(None, "media/one.mp3"))}) == [
        f"audio: none of the 1 audio files is below {root}; the first is 'media/one.mp3'. Check media_root."
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"media": {"audio": {}, "smell": {}}}, "media .*smell.* are not usable. Prepare the data again"),
        ({"media": ["audio"]}, "are not usable"),
        ({"media_root": None}, "below media_root None are not usable"),
        ({"media_root": 5}, "below media_root 5 are not usable"),
    ],
)
def test_a_manifest_that_is_not_ours(prepared, changes, message):
    path = prepared() / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(ArtefactError, match=message):
        load_dataset(path.parent)


def test_a_manifest_that_names_a_column_which_is_not_there(prepared):
    path = prepared(media={"audio": MEDIA["audio"]}) / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"media": {"video": {"items": 1}}}))
    with pytest.raises(
        ArtefactError, match=r"items[.]parquet: video_path is no column of text. Prepare the data again"
    ):
        load_dataset(path.parent)


@pytest.fixture
def tables(tmp_path, root):
    """The items table's text and options -> a source."""

    def make(items, **options):
        (tmp_path / "log.csv").write_text("user_id,item_id\nu,a\nu,b\n")
        if items is not None:
            (tmp_path / "items.csv").write_text(items)
        options = {"media_root": root} | options
        return TablesSource(tmp_path / "log.csv", None if items is None else tmp_path / "items.csv", **options)

    return make


CATALOGUE = "item_id,title,audio,video\na,x,one.mp3,\nb,y,two.mp4,two.mp4\nc,z,,deep/three.mp4\n"


def test_the_tables_source_reads_paths(tables, tmp_path, root):
    dataset = load_dataset(prepare(tables(CATALOGUE), RandomSplit(0, 0), PrepareOptions(), tmp_path / "out"))
    assert dataset.media["audio"].paths == ("one.mp3", "two.mp4", None)
    assert dataset.media["video"].paths == (None, "two.mp4", "deep/three.mp4")
    assert dataset.media_root == str(root) and dataset.items.array.to_pylist() == ["a", "b", "c"]
    assert {"title"} == set(dataset.item_table.column_names) - {"item_idx", "item_id", "audio_path", "video_path"}


def test_without_a_root_the_columns_are_side_fields(tables):
    raw = tables(CATALOGUE, media_root=None).read()
    assert raw.media == {} and raw.media_root is None
    assert raw.items["audio"].to_pylist() == ["one.mp3", "two.mp4", None]


@pytest.mark.parametrize(
    ("items", "problem"),
    [
        (
            "item_id,sound\na,one.mp3\n",
            "items.csv: media_root is given, but there is no column 'audio' or 'video'; it has ['item_id', 'sound']. "
            "Add one that holds paths below media_root.",
        ),
        (None, "media_root: is given, but no items table. Give `items` with item_id and audio or video."),
    ],
)
def test_a_root_without_a_column(tables, tmp_path, items, problem):
    assert problems_of(prepare, tables(items), RandomSplit(0, 0), PrepareOptions(), tmp_path / "out") == [problem]


def test_paths_are_told_by_the_row_of_the_file(tables, tmp_path):
    problems = problems_of(
        prepare,
        tables("item_id,audio\na,\nb\nb,/etc/passwd\nc,one.mp3\n"),
        RandomSplit(0, 0),
        PrepareOptions(),
        tmp_path / "out",
    )
    assert len(problems) == 2 and problems[0].startswith("items.csv row 2: has 1 cells")
    assert problems[1].startswith("items.csv row 3: audio is '/etc/passwd'; expected the path of a local file")


def test_a_typed_column_that_holds_no_text(tables, tmp_path):
    pq.write_table(pa.table({"item_id": ["a", "b"], "audio": [1, 2]}), tmp_path / "items.parquet")
    source = TablesSource(tmp_path / "log.csv", tmp_path / "items.parquet", media_root=tables("").media_root)
    assert problems_of(prepare, source, RandomSplit(0, 0), PrepareOptions(), tmp_path / "out")[0] == (
        "items.parquet: column audio has the type int64; expected text."
    )
