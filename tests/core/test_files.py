import json
import os
import stat
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from avrec.core import files
from avrec.core.errors import ArtefactError


class Fault(OSError):
    """What the injected failure raises."""


def failing_at(monkeypatch, name, call):
    """Make the `call`-th use of `os.<name>` fail."""
    original, counter = getattr(os, name), iter(range(1, 1000))

    def sometimes(*args, **kwargs):
        if next(counter) == call:
            raise Fault(f"{name} failed")
        return original(*args, **kwargs)

    monkeypatch.setattr(files.os, name, sometimes)


def write(path, text):
    with files.atomic_write(path) as file:
        file.write(text.encode())


def test_a_file_appears_whole_with_its_folder_and_usual_rights(tmp_path):
    path = tmp_path / "a" / "b.txt"
    write(path, "one")
    write(path, "two")
    assert path.read_text() == "two" and list(path.parent.iterdir()) == [path]
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask


@pytest.mark.parametrize(("name", "call"), [("replace", 1), ("fsync", 1), ("chmod", 1), ("fdopen", 1)])
def test_a_failure_while_writing_leaves_the_old_file(tmp_path, monkeypatch, name, call):
    path = tmp_path / "b.txt"
    write(path, "old")
    failing_at(monkeypatch, name, call)
    with pytest.raises(Fault):
        write(path, "new")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_an_error_of_the_writer_leaves_the_old_file(tmp_path):
    path = tmp_path / "b.txt"
    write(path, "old")
    with pytest.raises(KeyboardInterrupt), files.atomic_write(path) as file:
        file.write(b"ne")
        raise KeyboardInterrupt
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_after_the_rename_the_new_file_is_whole(tmp_path, monkeypatch):
    path = tmp_path / "b.txt"
    write(path, "old")
    failing_at(monkeypatch, "fsync", 2)  # that of the folder
    with pytest.raises(Fault):
        write(path, "new")
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


def fill(path, text):
    with files.atomic_folder(path) as draft:
        (draft / "x").write_text(text)


def test_a_folder_appears_whole_and_replaces_the_old_one(tmp_path):
    path = tmp_path / "a" / "data"
    fill(path, "one")
    (path / "left over").write_text("")
    fill(path, "two")
    assert [(file.name, file.read_text()) for file in path.iterdir()] == [("x", "two")]
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(("name", "call"), [("replace", 1), ("replace", 2)])
def test_a_failure_while_replacing_a_folder_leaves_the_old_one(tmp_path, monkeypatch, name, call):
    path = tmp_path / "data"
    fill(path, "old")
    failing_at(monkeypatch, name, call)
    with pytest.raises(Fault):
        fill(path, "new")
    assert (path / "x").read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_an_error_while_filling_leaves_the_old_folder(tmp_path):
    path = tmp_path / "data"
    fill(path, "old")
    with pytest.raises(KeyboardInterrupt), files.atomic_folder(path) as draft:
        (draft / "x").write_text("ne")
        raise KeyboardInterrupt
    assert (path / "x").read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_json_is_sorted_utf8_and_has_no_nan(tmp_path):
    path = tmp_path / "a.json"
    files.write_json(path, {"b": "é", "a": 1})
    assert path.read_text("utf-8") == '{\n  "a": 1,\n  "b": "é"\n}\n'
    assert files.read_json(path) == {"a": 1, "b": "é"}
    with pytest.raises(ValueError, match="Out of range float"):
        files.write_json(path, {"a": float("nan")})
    assert files.read_json(path) == {"a": 1, "b": "é"}


@pytest.mark.parametrize("data", [b"{", b"\xff\xfe", b"", b"[" * 100_000, b"{'a': 1}"])
def test_what_is_no_json_is_named(tmp_path, data):
    (tmp_path / "a.json").write_bytes(data)
    with pytest.raises(ArtefactError, match=r"a.json: not readable as JSON .* Make the artefact again"):
        files.read_json(tmp_path / "a.json")


def test_json_that_is_missing_or_too_large(tmp_path):
    with pytest.raises(ArtefactError, match=r"a.json: cannot be read \(No such file"):
        files.read_json(tmp_path / "a.json")
    (tmp_path / "a.json").write_text(json.dumps("x" * 100))
    with pytest.raises(ArtefactError, match=r"102 bytes of JSON; at most 50 are read. Is this the right file?"):
        files.read_json(tmp_path / "a.json", max_bytes=50)


@pytest.mark.parametrize("value", [{}, {"format_version": "1"}, {"format_version": 2}, [], None])
def test_format_versions(value):
    files.check_format_version({"format_version": 1}, "m.json", 1)
    with pytest.raises(ArtefactError, match=r"m[.]json: format version .*; this avrec reads version 1"):
        files.check_format_version(value, "m.json", 1)


ARRAY = np.arange(24, dtype=np.float32).reshape(4, 6)


@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize("array", [ARRAY, np.zeros((0, 3)), ARRAY.T, np.array([True, False]), np.array(["é", "b"])])
def test_npy_round_trip(tmp_path, array, mmap):
    files.write_npy(tmp_path / "a.npy", array)
    again = files.read_npy(tmp_path / "a.npy", ndim=array.ndim, mmap=mmap)
    np.testing.assert_array_equal(again, array)
    assert again.dtype == array.dtype


def test_npy_of_another_rank(tmp_path):
    files.write_npy(tmp_path / "a.npy", ARRAY)
    with pytest.raises(ArtefactError, match=r"a.npy: shape \(4, 6\); expected 1 dimensions"):
        files.read_npy(tmp_path / "a.npy", ndim=1)


@pytest.mark.parametrize("keep", [0, 5, 9, 60, 127, 128, 200])
def test_a_truncated_npy_is_named(tmp_path, keep):
    files.write_npy(tmp_path / "a.npy", ARRAY)
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:keep])
    with pytest.raises(ArtefactError, match=r"a.npy: (not a readable|the header claims)"):
        files.read_npy(tmp_path / "a.npy")


@pytest.mark.parametrize(
    "shape",
    [
        "(4, 7)",
        "(1000000000000,)",
        "(-4, -6)",
        "(-1,)",
        "(2**62, 4)",
        "(4.0, 6)",
        "('a',)",
        "(4, 6",
        "__import__('os')",
    ],
)
def test_a_header_that_lies_is_found_before_anything_is_allocated(tmp_path, shape):
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    data = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + ARRAY.tobytes()
    (tmp_path / "a.npy").write_bytes(data)
    with pytest.raises(ArtefactError, match=r"a[.]npy: "):
        files.read_npy(tmp_path / "a.npy")


def test_python_objects_are_neither_written_nor_read(tmp_path):
    with pytest.raises(ValueError, match="allow_pickle"):
        files.write_npy(tmp_path / "a.npy", np.array([{}], dtype=object))
    assert not list(tmp_path.iterdir())
    np.save(tmp_path / "a.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ArtefactError, match=r"holds Python objects .pickle., which are never loaded"):
        files.read_npy(tmp_path / "a.npy")
    np.savez(tmp_path / "a.npz", x=ARRAY)
    with pytest.raises(ArtefactError, match=r"not a readable [.]npy"):
        files.read_npy(tmp_path / "a.npz")


TABLE = pa.table({"a": [1, 2, None], "b": pa.array(["x", "y", "x"]).dictionary_encode()})


def test_table_round_trip(tmp_path):
    files.write_table(tmp_path / "a.parquet", TABLE)
    assert files.read_table(tmp_path / "a.parquet").equals(TABLE)
    assert files.read_table(tmp_path / "a.parquet", ["b"]).column_names == ["b"]


def test_tables_that_cannot_be_used(tmp_path):
    path = tmp_path / "a.parquet"
    with pytest.raises(ArtefactError, match=r"a[.]parquet: cannot be read"):
        files.read_table(path)
    files.write_table(path, TABLE)
    with pytest.raises(ArtefactError, match=r"a.parquet: no column \['c'\]; it has \['a', 'b'\]"):
        files.read_table(path, ["a", "c"])
    with pytest.raises(ArtefactError, match=r"claims .* bytes when expanded; at most 10 are read"):
        files.read_table(path, max_bytes=10)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ArtefactError, match=r"a[.]parquet: not a readable Parquet file"):
        files.read_table(path)


def test_a_small_file_that_expands_is_refused_by_its_footer(tmp_path):
    pq.write_table(
        pa.table({"a": np.zeros(3_000_000)}), tmp_path / "bomb.parquet", compression="zstd", use_dictionary=False
    )
    assert (tmp_path / "bomb.parquet").stat().st_size < 100_000
    with pytest.raises(ArtefactError, match="when expanded"):
        files.read_table(tmp_path / "bomb.parquet", max_bytes=10**6)


@pytest.mark.parametrize(("name", "read"), [("a.npy", files.read_npy), ("a.parquet", files.read_table)])
def test_garbled_bytes_raise_nothing_but_artefact_errors(tmp_path, name, read):
    files.write_npy(tmp_path / "a.npy", ARRAY)
    files.write_table(tmp_path / "a.parquet", TABLE)
    data, draw = (tmp_path / name).read_bytes(), np.random.default_rng(0)
    refused = 0
    for _ in range(500):
        mutant = bytearray(data)
        mutant[draw.integers(len(data))] = draw.integers(256)
        (tmp_path / name).write_bytes(bytes(mutant))
        try:
            read(tmp_path / name)
        except ArtefactError:
            refused += 1
    assert refused > 100


def test_the_digest_of_a_file(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert files.sha256_file(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_of_two_that_write_one_folder_at_once_the_later_stands_whole(tmp_path, monkeypatch):
    path, really = tmp_path / "folder", Path.exists
    with files.atomic_folder(path) as early:
        (early / "who").write_text("early")
    with files.atomic_folder(path) as late:
        (late / "who").write_text("late")
        monkeypatch.setattr(Path, "exists", lambda self: self != path and really(self))
    monkeypatch.undo()
    assert (path / "who").read_text() == "late"
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]
