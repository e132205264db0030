import errno
import itertools
import json
import os
import shutil

import numpy as np
import pyarrow as pa
import pytest

from avrec.core import files
from avrec.core.errors import ArtefactError, DataError
from avrec.core.files import file_lock
from avrec.data import record_parts
from avrec.data.record_cache import RecordCache
from avrec.data.record_reader import DamagedRecordsError

SHAPE, CLIPS = (3, 4), 2
KEY = {"encoder": "tiny", "spec": {"clip_sec": 4.0, "shape": (1, 2)}}


def opened(folder, key=KEY, shape=SHAPE, dtype="float16", num_clips=CLIPS):
    return RecordCache.open(folder / "cache", key, shape, dtype, num_clips)


def record(name, shape=SHAPE):
    """The one true record of a name, and its valid shares."""
    rng = np.random.default_rng(int.from_bytes(name.encode(), "little"))
    return rng.standard_normal(shape).astype(np.float16), rng.random(CLIPS, np.float32)


def add(cache, names, **more):
    values, valid = zip(*(record(name, cache.layout.shape) for name in names), strict=True)
    cache.append(names, np.stack(values), np.stack(valid), **more)


def assert_holds(cache, names):
    reader = cache.reader(names)
    assert reader.present.all() and len(cache.missing(names)) == 0
    order = np.random.default_rng(0).permutation(len(names))
    values, valid = reader.read(order)
    assert values.dtype == cache.layout.dtype and valid.dtype == np.float32
    for row, position in enumerate(order):
        expected = record(names[position], cache.layout.shape)
        np.testing.assert_array_equal(values[row], expected[0])
        np.testing.assert_array_equal(valid[row], expected[1])


def part_files(cache, pattern="*"):
    return sorted((cache.folder / "parts").glob(pattern))


def named(start, stop):
    return [f"item {number}" for number in range(start, stop)]


@pytest.fixture
def cache(tmp_path):
    return opened(tmp_path)


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of 4 records, written 8 at a time."""
    record_bytes = 2 * np.prod(SHAPE)
    monkeypatch.setattr(record_parts, "BLOCK_BYTES", 4 * record_bytes)
    monkeypatch.setattr(record_parts, "WRITE_BYTES", 8 * record_bytes)


# What is stored and what is not


def test_records_come_back_by_name_in_any_order(tmp_path, cache, small_blocks):
    for start in range(0, 57, 19):
        add(cache, named(start, start + 19))
    assert_holds(cache, named(0, 57))
    assert_holds(opened(tmp_path), named(0, 57)[::-1])


def test_an_empty_cache_has_nothing(cache):
    reader = cache.reader(["a", None])
    assert reader.present.tolist() == [False, False] and reader.reasons == {} and len(reader) == 2
    assert cache.missing(["a", "b"]).tolist() == [0, 1] and cache.missing([]).tolist() == []
    assert reader.read(np.empty(0, np.int64))[0].shape == (0, *SHAPE) and reader.damaged() == []
    assert cache.seal() == 0 and cache.drop_damaged() == []
    cache.append([], np.empty((0, *SHAPE), np.float16), np.empty((0, CLIPS), np.float32))
    cache.append_absent([], [])
    assert part_files(cache) == []


def test_missing_gives_a_repeated_name_once_and_leaves_out_what_is_known(cache):
    add(cache, ["b"])
    cache.append_absent(["c"], ["broken"])
    assert cache.missing(["a", "b", "c", "d", "a", "d"]).tolist() == [0, 3]


def test_a_name_without_a_record_is_not_read(cache):
    add(cache, ["a", "b"])
    for reader, idx in ((cache.reader(["a", "x", "b", None]), [0, 1, 3]), (cache.reader(["x"]), [0])):
        with pytest.raises(IndexError, match=r"no records at the positions \[.*\]; read where `present` only"):
            reader.read(np.array(idx))
    reader = cache.reader(["a", "x", "b", None])
    assert reader.present.tolist() == [True, False, True, False]
    reader.read(np.array([0, 2]))
    with pytest.raises(IndexError, match=r"\[3\]"):  # also once every block was verified
        reader.read(np.array([3]))


@pytest.mark.parametrize("sealed", [False, True])
def test_reasons_and_notes_are_remembered_the_last_reason_and_any_record_count(tmp_path, cache, sealed):
    cache.append_absent(["a", "b", "c"], ["first", "b is bad", "c is bad"])
    add(cache, ["d", "c", "e"], notes=[None, "short: 1 s of 2 s", None])
    cache.append_absent(["a"], ["second"])
    if sealed:
        assert cache.seal() == 3 and len(part_files(cache)) == 2
    reader = opened(tmp_path).reader(["e", "a", "x", "b", "c"])
    assert reader.present.tolist() == [True, False, False, False, True]
    assert reader.reasons == {1: "second", 3: "b is bad"} and reader.notes == {4: "short: 1 s of 2 s"}
    assert opened(tmp_path).missing(["a", "b", "x"]).tolist() == [2]


def test_the_first_record_of_a_name_wins_until_it_is_struck_out(cache):
    add(cache, ["a", "b"])
    cache.append(["a", "a"], np.ones((2, *SHAPE), np.float16), np.ones((2, CLIPS)))
    assert_holds(cache, ["a", "b"])
    assert cache.seal() == 2
    assert_holds(cache, ["a", "b"])
    assert [path.stat().st_size for path in part_files(cache, "*.bin")] == [2 * cache.layout.record_bytes]


@pytest.mark.parametrize("seed", range(6))
def test_any_course_of_events_equals_a_dictionary(tmp_path, small_blocks, seed):
    rng = np.random.default_rng(seed)
    cache, stored, absent = opened(tmp_path), set(), {}
    universe = named(0, 60)
    for step in range(25):
        action = rng.choice(["append", "absent", "seal", "open", "drop"], p=[0.5, 0.2, 0.1, 0.1, 0.1])
        names = [universe[place] for place in rng.choice(60, rng.integers(1, 12), replace=False)]
        if action == "append":
            add(cache, names)
            stored |= set(names)
        elif action == "absent":
            cache.append_absent(names, [f"step {step}"] * len(names))
            absent |= dict.fromkeys(names, f"step {step}")
        elif action == "seal":
            cache.seal(shard_bytes=int(rng.choice([1, 100, 1_000, 2**30])))
        elif action == "open":
            cache = opened(tmp_path)
        else:
            assert cache.drop_damaged() == []
        reader = cache.reader(universe)
        assert [universe[place] for place in np.flatnonzero(reader.present)] == [
            name for name in universe if name in stored
        ]
        assert {universe[place]: reason for place, reason in reader.reasons.items()} == {
            name: reason for name, reason in absent.items() if name not in stored
        }
        assert {universe[place] for place in cache.missing(universe)} == set(universe) - stored - set(absent)
        if stored:
            assert_holds(cache, [name for name in universe if name in stored])


@pytest.mark.parametrize(("dtype", "values"), [("uint8", [0, 255]), ("float32", [1e30, -1e-30])])
def test_other_types_are_kept_exactly(tmp_path, dtype, values):
    cache = opened(tmp_path, shape=(2,), dtype=dtype, num_clips=1)
    cache.append(["a"], np.array([values], dtype), np.ones((1, 1)))
    np.testing.assert_array_equal(cache.reader(["a"]).read(np.array([0]))[0], np.array([values], dtype))


def test_numbers_that_the_type_cannot_hold_are_refused_by_name(cache):
    values = np.ones((3, *SHAPE), np.float32)
    values[1, 0, 0], values[2, 1, 1] = 1e6, np.nan
    with pytest.raises(DataError) as caught:
        cache.append(["a", "b", "c"], values, np.ones((3, CLIPS)))
    assert caught.value.problems == [
        "record 'b': holds numbers that are not finite as float16",
        "record 'c': holds numbers that are not finite as float16",
        "2 of 3 records have this problem. Look at what made them.",
    ]
    assert part_files(cache) == [] and cache.missing(["a"]).tolist() == [0]


def test_shapes_and_kinds_of_numbers_are_asserted(tmp_path, cache):
    with pytest.raises(AssertionError, match=r"\(1, 4, 3\)"):
        cache.append(["a"], np.ones((1, 4, 3)), np.ones((1, CLIPS)))
    with pytest.raises(AssertionError, match="float64 to uint8"):
        RecordCache.open(tmp_path / "u", {}, (2,), "uint8").append(["a"], np.ones((1, 2)), np.ones((1, 1)))
    with pytest.raises(AssertionError):
        RecordCache.open(tmp_path / "o", {}, (2,), object)


# Keys


def test_another_key_is_refused_naming_every_entry_that_differs(tmp_path, cache):
    key = {"encoder": "base", "spec": {"clip_sec": 5.0, "shape": [1, 2]}, "layer": 2}
    with pytest.raises(ArtefactError) as caught:
        opened(tmp_path, key, num_clips=1)
    assert str(caught.value) == (
        f"{tmp_path}/cache/key.json: this cache is stale, made for another key: "
        'encoder is "tiny" there, "base" is asked; layer is nothing there, 2 is asked; '
        "record.num_clips is 2 there, 1 is asked; spec.clip_sec is 4.0 there, 5.0 is asked. "
        "Give another folder, or delete this one."
    )
    with pytest.raises(ArtefactError, match=r'record.dtype is "float16" there, "uint8" is asked'):
        opened(tmp_path, dtype="uint8")
    with pytest.raises(ArtefactError, match=r"record.shape is \[3, 4\] there, \[4, 3\] is asked"):
        opened(tmp_path, shape=(4, 3))
    with pytest.raises(ArtefactError, match=r"n0 is nothing there.*; 4 more\. Give"):
        opened(tmp_path, KEY | {f"n{number}": 1 for number in range(12)})
    opened(tmp_path, dict(reversed(KEY.items())))


def test_what_is_no_cache_is_refused(tmp_path, cache):
    path = cache.folder / "key.json"
    about = json.loads(path.read_text())
    for content, text in (
        ("[]", "not the key of an avrec record cache"),
        (json.dumps(about | {"kind": "x"}), "not the key of an avrec record cache"),
        (json.dumps(about | {"format_version": 2}), "format version 2; this avrec reads version 1"),
        ("{", "not readable as JSON"),
    ):
        path.write_text(content)
        with pytest.raises(ArtefactError, match=text):
            opened(tmp_path)


# Damage


def flip(path, offset):
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 0x10]))


def test_of_100_flipped_bytes_all_are_found_and_only_their_blocks_are_encoded_again(tmp_path, small_blocks):
    cache, names = opened(tmp_path), named(0, 203)
    for start in range(0, 203, 50):
        add(cache, names[start : start + 50])
    cache.seal()
    add(cache, ["last"])
    pristine = tmp_path / "pristine"
    shutil.copytree(cache.folder, pristine)
    rng = np.random.default_rng(0)
    (shard, _), size = part_files(cache, "*.bin"), 203 * cache.layout.record_bytes
    for offset in rng.integers(0, size, 100):
        shutil.rmtree(cache.folder)
        shutil.copytree(pristine, cache.folder)
        flip(shard, offset)
        block = int(offset) // (4 * cache.layout.record_bytes)
        hurt = names[4 * block : 4 * block + 4]
        reader = opened(tmp_path).reader([*names, "last"])
        with pytest.raises(DamagedRecordsError) as caught:
            reader.read(np.arange(204))
        assert caught.value.names == hurt
        sound = np.array([place for place in range(204) if not 4 * block <= place < 4 * block + 4])
        reader.read(sound)
        assert reader.damaged() == hurt
    assert str(caught.value) == (
        f"{shard}: {len(hurt)} records are damaged (checksum or length differs): {', '.join(map(repr, hurt))}. "
        "Strike them out with `RecordCache.drop_damaged()`; then only they are encoded again."
    )
    cache = opened(tmp_path)
    assert cache.drop_damaged() == hurt and [names[place] for place in cache.missing(names)] == hurt
    assert not cache.reader(hurt).present.any() and cache.drop_damaged() == []
    add(cache, hurt)
    assert_holds(cache, [*names, "last"])
    assert cache.seal() == 3
    assert_holds(opened(tmp_path), [*names, "last"])
    assert len(part_files(cache)) == 2


def test_many_damaged_blocks_are_named_at_once_and_sealing_does_not_hide_them(cache, small_blocks):
    add(cache, named(0, 40))
    add(cache, named(40, 80))
    add(cache, named(80, 90))
    first, second, _ = part_files(cache, "*.bin")
    for path, row in ((first, 1), (first, 39), (second, 20)):
        flip(path, row * cache.layout.record_bytes)
    hurt = [*named(0, 4), *named(36, 40), *named(60, 64)]
    assert cache.seal() == 0  # two damaged parts stay, and one alone is not worth it
    add(cache, named(90, 95))
    assert cache.seal() == 2
    with pytest.raises(DamagedRecordsError, match=r"12 records are damaged.*'item 0'.*'item 36' and 7 more") as caught:
        cache.reader(named(0, 95)).read(np.arange(95))
    assert caught.value.names == hurt
    assert cache.drop_damaged() == hurt
    add(cache, hurt)
    assert cache.seal() == 4
    assert_holds(cache, named(0, 95))


@pytest.mark.parametrize("kept_rows", [0, 0.5, 3, 4, 9.9])
def test_of_a_truncated_file_the_whole_blocks_are_kept(tmp_path, small_blocks, kept_rows):
    cache = opened(tmp_path)
    add(cache, named(0, 10))
    (path,) = part_files(cache, "*.bin")
    os.truncate(path, int(kept_rows * cache.layout.record_bytes))
    kept = int(kept_rows) // 4 * 4
    cache = opened(tmp_path)
    assert cache.reader(named(0, 10)).damaged() == named(kept, 10)
    if kept:
        cache.reader(named(0, kept)).read(np.arange(kept))
    with pytest.raises(DamagedRecordsError):
        cache.reader(["item 9"]).read(np.array([0]))
    assert cache.drop_damaged() == named(kept, 10)
    add(cache, [named(0, 10)[place] for place in cache.missing(named(0, 10))])
    assert_holds(cache, named(0, 10))
    cache.seal()
    assert_holds(cache, named(0, 10))


def test_records_removed_from_under_their_index_are_damaged(tmp_path, cache):
    add(cache, ["a", "b"])
    part_files(cache, "*.bin")[0].unlink()
    assert cache.reader(["b", "a"]).damaged() == ["b", "a"]
    assert opened(tmp_path).drop_damaged() == ["a", "b"] and cache.missing(["a", "b"]).tolist() == [0, 1]


def test_a_longer_file_than_its_index_says_is_read_as_far_as_it_says(cache):
    add(cache, ["a", "b"])
    with open(part_files(cache, "*.bin")[0], "ab") as file:
        file.write(b"more")
    assert_holds(cache, ["a", "b"])


def test_a_damaged_index_costs_its_own_records_only(tmp_path, cache):
    add(cache, ["a", "b"])
    add(cache, ["c"])
    index = part_files(cache, "*.parquet")[0]
    content = index.read_bytes()
    rng = np.random.default_rng(0)
    damaged = [content[: int(length)] for length in rng.integers(0, len(content), 5)]
    for place in rng.integers(0, len(content), 40):
        flipped = bytearray(content)
        flipped[place] ^= 1 << int(rng.integers(8))
        damaged.append(bytes(flipped))
    for broken in damaged:
        index.write_bytes(broken)
        cache = opened(tmp_path)
        assert cache.missing(["a", "b", "c"]).tolist() == [0, 1]
        assert cache.unreadable == {
            index: f"{index}: damaged (its checksum differs). Its records count as missing and are encoded again."
        }
    assert cache.drop_damaged() == [] and cache.unreadable == {}
    add(cache, ["a", "b"])
    assert_holds(cache, ["a", "b", "c"])
    assert len(part_files(cache)) == 4


@pytest.mark.parametrize(
    "about",
    [
        {"num_records": 10**12, "checksums": [1]},
        {"num_records": 2, "checksums": [1] * 9},
        {"num_records": -1, "checksums": []},
        {"num_records": 2},
        {"num_records": 2, "checksums": [2**70]},
        {"num_records": "many", "checksums": []},
        [],
    ],
)
def test_an_index_that_claims_the_absurd_is_not_believed(cache, monkeypatch, about):
    table = record_parts.part_table(["a", "b"], [None, None], np.ones((2, CLIPS), np.float32))
    monkeypatch.setattr(record_parts.json, "dumps", lambda *_, **__: str(about).replace("'", '"'))
    index = record_parts.write_index(cache.folder / "parts", record_parts.new_stem(), 0, table, 0, [])
    monkeypatch.undo()
    assert cache.missing(["a", "b"]).tolist() == [0, 1]
    assert "not an index of records" in cache.unreadable[index] or "contradict one another" in cache.unreadable[index]


def test_an_index_of_other_columns_is_not_believed(cache):
    for table, text in (
        (pa.table({"name": ["a"]}), "no column"),
        (record_parts.part_table(["a"], [None], np.ones((1, CLIPS + 1), np.float32)), "contradict"),
    ):
        index = record_parts.write_index(cache.folder / "parts", record_parts.new_stem(), 0, table, 0, [])
        assert cache.missing(["a"]).tolist() == [0] and text in cache.unreadable[index]


def test_more_records_than_the_file_holds_are_never_mapped(tmp_path):
    path = tmp_path / "x.bin"
    path.write_bytes(bytes(35))
    mapped = files.map_records(path, np.dtype("float16"), (5,), 10**15)
    assert mapped.shape == (3, 5) and not mapped.flags.writeable
    assert files.map_records(path, np.dtype("float16"), (50,), 10**15).shape == (0, 50)


# Sealing and sweeping


def test_sealing_cuts_into_shards_and_leaves_large_parts_alone(cache, small_blocks):
    size = cache.layout.record_bytes
    for start in range(0, 60, 6):
        add(cache, named(start, start + 6))
    assert cache.seal(shard_bytes=25 * size) == 10
    assert [path.stat().st_size // size for path in part_files(cache, "*.bin")] == [25, 25, 10]
    assert_holds(cache, named(0, 60))
    assert cache.seal(shard_bytes=25 * size) == 0
    add(cache, named(60, 61))
    cache.append_absent(["x"], ["bad"])
    assert cache.seal(shard_bytes=25 * size) == 2
    assert [path.stat().st_size // size for path in part_files(cache, "*.bin")] == [25, 25, 10, 1]
    assert cache.reader(["x"]).reasons == {0: "bad"}
    assert cache.seal() == 4 and len(part_files(cache)) == 2
    assert_holds(cache, named(0, 61))


def test_sealing_forgets_reasons_that_no_longer_count(cache):
    cache.append_absent(["a", "b", "b"], ["old", "older", "newer"])
    cache.append_absent(["a", "c"], ["new", "c is bad"])
    add(cache, ["c"])
    reasons = {0: "new", 1: "newer"}
    assert cache.reader(["a", "b", "c"]).reasons == reasons
    assert cache.seal() == 3 and cache.reader(["a", "b", "c"]).reasons == reasons
    (part,) = [record_parts.read_part(path, cache.layout) for path in part_files(cache, "*.parquet")]
    assert sorted(part.absent["name"].to_pylist()) == ["a", "b"] and part.num_records == 1


@pytest.mark.parametrize("shard_bytes", [1, 2**30])
def test_parts_that_a_sealer_killed_before_it_removed_them_left_go_with_the_next_sealing(
    tmp_path, cache, small_blocks, shard_bytes
):
    for start in range(0, 20, 10):
        add(cache, named(start, start + 10))
    shutil.copytree(cache.folder, tmp_path / "before")
    assert cache.seal() == 2
    for path in (tmp_path / "before" / "parts").iterdir():
        shutil.copy(path, cache.folder / "parts")
    cache = opened(tmp_path)
    assert_holds(cache, named(0, 20))
    assert len(part_files(cache)) == 6 and cache.seal(shard_bytes) > 0
    assert_holds(cache, named(0, 20))
    sizes = [path.stat().st_size for path in part_files(cache, "*.bin")]
    assert sum(sizes) == 20 * cache.layout.record_bytes


def test_an_index_is_read_once(cache, monkeypatch):
    add(cache, ["a"])
    cache.missing(["a"])
    calls = []
    monkeypatch.setattr(
        "avrec.data.record_cache.read_part", lambda *args: calls.append(args) or record_parts.read_part(*args)
    )
    cache.missing(["a"])
    assert calls == []
    add(cache, ["b"])
    assert cache.missing(["a", "b"]).tolist() == [] and len(calls) == 1


def test_a_reader_outlives_sealing_and_another_cache_object_finds_the_new_parts(tmp_path, cache):
    add(cache, ["a"])
    add(cache, ["b"])
    reader, other = cache.reader(["a", "b"]), opened(tmp_path)
    assert other.missing(["a", "b"]).tolist() == []
    assert cache.seal() == 2
    np.testing.assert_array_equal(reader.read(np.array([1]))[0][0], record("b")[0])
    assert_holds(other, ["a", "b"])


def test_sealing_waits_for_room_and_for_nobody(cache, monkeypatch):
    add(cache, ["a"])
    add(cache, ["b"])
    with file_lock(cache.folder / "sealer.lock"):
        assert cache.seal() == 0
    usage = shutil.disk_usage(cache.folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=2 * cache.layout.record_bytes - 1))
    assert cache.seal() == 0 and len(part_files(cache)) == 4
    monkeypatch.undo()
    assert cache.seal() == 2


def test_what_the_dead_left_is_swept_up_but_not_beside_a_living_writer(tmp_path, cache):
    add(cache, ["a"])
    (index,) = part_files(cache, "*.parquet")
    stem = record_parts.new_stem()
    stale = [
        cache.folder / ".key.json.abc.tmp",
        *(index.with_name(name) for name in (f".{stem}.bin.abc.tmp", f"{stem}.bin", f".{index.name}.abc.tmp")),
    ]
    for path in stale:
        path.write_bytes(b"half a record")
    with file_lock(cache.folder / "writers.lock", shared=True):
        assert_holds(opened(tmp_path), ["a"])
        assert all(path.exists() for path in stale)
    assert_holds(opened(tmp_path), ["a"])
    assert not any(path.exists() for path in stale) and len(part_files(cache)) == 2


def test_a_folder_that_may_not_be_written_is_read(tmp_path, cache, monkeypatch):
    add(cache, ["a"])
    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setattr("avrec.data.record_cache.file_lock", None)
    assert_holds(opened(tmp_path), ["a"])


def test_a_listing_in_which_something_went_is_repeated(cache, monkeypatch):
    add(cache, ["a"])
    add(cache, ["b"])
    old = record_parts.committed(cache.folder / "parts")
    cache.seal()
    new = record_parts.committed(cache.folder / "parts")
    for listings in ([[], new, new], [old, [], new, new], [old, new, new], [old[:1], new, new]):
        turns = iter(listings)
        monkeypatch.setattr(record_parts, "_listed", lambda _, turns=turns: next(turns))
        assert record_parts.committed(cache.folder) == new
    monkeypatch.undo()


def test_a_part_that_is_sealed_while_it_is_read_is_looked_for_again(tmp_path, cache, monkeypatch):
    add(cache, ["a"])
    add(cache, ["b"])
    stale, other = record_parts.committed(cache.folder / "parts"), opened(tmp_path)
    cache.seal()
    listings = itertools.chain([stale], itertools.repeat(record_parts.committed(cache.folder / "parts")))
    monkeypatch.setattr("avrec.data.record_cache.committed", lambda _: next(listings))
    assert_holds(other, ["a", "b"])
    monkeypatch.setattr("avrec.data.record_cache.committed", lambda _: stale)
    with pytest.raises(ArtefactError, match="its files vanish while they are read"):
        opened(tmp_path).missing(["a"])


# A full disk


def test_the_room_is_asked_for_beforehand(cache, monkeypatch):
    names = named(0, 5_000)
    cache.append(names, np.zeros((5_000, *SHAPE), np.float16), np.ones((5_000, CLIPS)))
    used = sum(path.stat().st_size for path in part_files(cache))
    assert used <= cache.required_bytes(5_000) and cache.required_bytes(1) >= cache.layout.record_bytes
    usage = shutil.disk_usage(cache.folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1_000))
    with pytest.raises(ArtefactError) as caught:
        add(cache, named(5_000, 5_010))
    assert str(caught.value) == (
        f"{cache.folder}: the disk is full: {cache.required_bytes(10)} bytes are needed, 1000 are free. Make room or give "
        "another folder; what was added before is kept, and a second run goes on from there."
    )
    with pytest.raises(ArtefactError, match="the disk is full"):
        cache.check_room(4)
    cache.check_room(3)


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_disk_that_fills_up_at_any_call_leaves_nothing_half(tmp_path, cache, monkeypatch, call):
    add(cache, ["a"])
    original = getattr(os, call)
    for failing in range(1, 8):
        counter = itertools.count(1)

        def sometimes(*args, counter=counter, failing=failing, **kwargs):
            if next(counter) == failing:
                raise OSError(errno.ENOSPC, "No space left on device")
            return original(*args, **kwargs)

        monkeypatch.setattr(files.os, call, sometimes)
        try:
            add(cache, ["b", "c"])
        except ArtefactError as error:
            assert "the disk is full" in str(error) and str(cache.required_bytes(2)) in str(error)
            monkeypatch.undo()
            fresh = opened(tmp_path)
            held = fresh.reader(["b", "c"]).present
            assert held.all() or not held.any()
            assert_holds(fresh, ["a", *(["b", "c"] if held.all() else [])])
            assert [path for path in part_files(cache) if path.name.startswith(".")] == []
        else:
            break
    else:
        raise AssertionError("the fault was met every time")
    assert failing > 2
    assert_holds(cache, ["a", "b", "c"])


def test_other_faults_of_the_disk_are_not_called_a_full_one(cache, monkeypatch):
    def fail(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output error"):
        add(cache, ["a"])
    assert part_files(cache) == []
