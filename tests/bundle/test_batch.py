"""The lists of everybody in one file: what it holds, and what remains of it after a death at any moment."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import avrec.bundle.batch as batch
from avrec.bundle.batch import COLUMNS, Wish, write_lists
from avrec.bundle.reader import Bundle
from avrec.bundle.recommender import Recommender
from avrec.core.errors import ArtefactError, ConfigError
from avrec.core.files import file_lock
from avrec.retrieval.rerank import Reranking
from tests.export.world import NUM_ITEMS, NUM_USERS, World

ROOT = Path(__file__).resolve().parents[2]
USERS = [f"user {row}" for row in range(NUM_USERS)]


@pytest.fixture(scope="module")
def served(attention_world: World) -> Recommender:
    return Recommender(Bundle.open(attention_world.folder))


@pytest.fixture(autouse=True)
def small_parts(monkeypatch) -> None:
    monkeypatch.setattr(batch, "MAX_USERS_PER_PART", 3)


def rows(path: Path) -> list[dict]:
    return pq.read_table(path).to_pylist()


def expected(served: Recommender, k: int, **wishes) -> list[dict]:
    """One user at a time, as the console would answer."""
    found = []
    for user in USERS:
        query = batch.UserQuery.of_users(served.bundle.users.index([user]), served.bundle.history)
        answer = served.recommend(query, k, **wishes)[0]
        for rank, (item, score) in enumerate(zip(answer.item_ids, answer.scores, strict=True), 1):
            found.append(dict(zip(COLUMNS, (user, rank, item, score, answer.how), strict=True)))
    return found


def same_rows(one: list[dict], other: list[dict]) -> None:
    assert [{**row, "score": 0} for row in one] == [{**row, "score": 0} for row in other]
    np.testing.assert_allclose([row["score"] for row in one], [row["score"] for row in other], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("k", [1, 5, NUM_ITEMS + 10])
def test_the_file_holds_everybodys_list(served: Recommender, tmp_path: Path, k: int) -> None:
    written = write_lists(served, tmp_path / "lists.parquet", Wish(k))
    assert (written.num_users, written.resumed) == (NUM_USERS, 0)
    same_rows(rows(tmp_path / "lists.parquet"), expected(served, k))
    assert os.listdir(tmp_path) == ["lists.parquet"]


def test_columns_are_dictionaries_and_parts_are_row_groups(served: Recommender, tmp_path: Path) -> None:
    write_lists(served, tmp_path / "lists.parquet", Wish(4))
    schema = pq.read_schema(tmp_path / "lists.parquet")
    assert schema.names == list(COLUMNS)
    assert [str(schema.field(name).type) for name in ("rank", "score")] == ["int32", "float"]
    assert all(pa.types.is_dictionary(schema.field(name).type) for name in ("user_id", "item_id", "how"))
    assert pq.read_metadata(tmp_path / "lists.parquet").num_row_groups == -(-NUM_USERS // 3)


def test_wishes_are_granted(served: Recommender, tmp_path: Path) -> None:
    allowed = np.arange(NUM_ITEMS) % 3 == 0
    order = Reranking(mmr_lambda=0.4, fresh_weight=0.2, pool=8)
    wishes = {"exclude_seen": False, "allowed": allowed, "reranking": order}
    write_lists(served, tmp_path / "lists.parquet", Wish(5, **wishes))
    found = rows(tmp_path / "lists.parquet")
    same_rows(found, expected(served, 5, **wishes))
    assert {row["item_id"] for row in found} <= {f"item {index}" for index in range(0, NUM_ITEMS, 3)}


def test_somebody_to_whom_nothing_may_be_shown_has_no_row(served: Recommender, tmp_path: Path) -> None:
    write_lists(served, tmp_path / "lists.parquet", Wish(5, allowed=np.zeros(NUM_ITEMS, np.bool_)))
    assert rows(tmp_path / "lists.parquet") == []


def test_what_stands_is_taken_up(served: Recommender, tmp_path: Path, monkeypatch) -> None:
    """Death after the second part: the third call of the search finds no process."""
    path, searched = tmp_path / "lists.parquet", []
    search = Recommender.top

    def dying(self, query, *rest):
        if len(searched) == 2:
            raise KeyboardInterrupt
        searched.append(query.user_idx.tolist())
        return search(self, query, *rest)

    monkeypatch.setattr(Recommender, "top", dying)
    with pytest.raises(KeyboardInterrupt):
        write_lists(served, path, Wish(5))
    assert not path.exists() and len(list((tmp_path / "lists.parquet.parts").glob("*.parquet"))) == 2
    searched.clear()
    monkeypatch.setattr(
        Recommender, "top", lambda *words: searched.append(words[1].user_idx.tolist()) or search(*words)
    )
    told = []
    written = write_lists(served, path, Wish(5), lambda done, total: told.append((done, total)))
    assert written.resumed == 6 and searched[0] == [6, 7, 8]
    assert told == [(done, NUM_USERS) for done in (6, 9, 12, 15, 18, 20)]
    same_rows(rows(path), expected(served, 5))
    assert os.listdir(tmp_path) == ["lists.parquet"]


def test_a_finished_file_is_left_as_it_is(served: Recommender, tmp_path: Path) -> None:
    path = tmp_path / "lists.parquet"
    write_lists(served, path, Wish(5))
    before = path.stat().st_mtime_ns
    (tmp_path / "lists.parquet.parts").mkdir()  # died between sealing and clearing up
    assert write_lists(served, path, Wish(5)).resumed == NUM_USERS
    assert path.stat().st_mtime_ns == before and os.listdir(tmp_path) == ["lists.parquet"]


def test_a_death_while_sealing_leaves_nothing_behind(served: Recommender, tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "lists.parquet"
    (tmp_path / ".lists.parquet.abc.tmp").write_bytes(b"half a file")
    write_lists(served, path, Wish(5))
    assert os.listdir(tmp_path) == ["lists.parquet"]


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (Wish(6), "k differ"),
        (Wish(5, exclude_seen=False), "exclude_seen differ"),
        (Wish(5, allowed=np.ones(NUM_ITEMS, np.bool_)), "allowed differ"),
        (Wish(5, reranking=Reranking(mmr_lambda=0.5)), "rerank differ"),
    ],
)
def test_other_settings_are_refused(served: Recommender, tmp_path: Path, monkeypatch, other: Wish, words: str) -> None:
    write_lists(served, tmp_path / "whole.parquet", Wish(5))
    with pytest.raises(ConfigError, match=rf"whole\.parquet: was made otherwise than asked now: {words}. Delete it"):
        write_lists(served, tmp_path / "whole.parquet", other)
    monkeypatch.setattr(batch, "part_table", lambda *words: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_lists(served, tmp_path / "half.parquet", Wish(5))
    with pytest.raises(ConfigError, match=rf"half\.parquet\.parts: was made otherwise than asked now: {words}"):
        write_lists(served, tmp_path / "half.parquet", other)


def test_an_order_that_changes_nothing_is_no_other_setting(served: Recommender, tmp_path: Path) -> None:
    write_lists(served, tmp_path / "lists.parquet", Wish(5))
    assert write_lists(served, tmp_path / "lists.parquet", Wish(5, reranking=Reranking())).resumed == NUM_USERS


def test_another_bundle_is_refused(served: Recommender, attention_world: World, tmp_path: Path) -> None:
    write_lists(served, tmp_path / "lists.parquet", Wish(5))
    folder = Path(shutil.copytree(attention_world.folder, tmp_path / "bundle"))
    manifest = json.loads((folder / "manifest.json").read_text()) | {"seed": 4}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ConfigError, match="bundle differ"):
        write_lists(Recommender(Bundle.open(folder)), tmp_path / "lists.parquet", Wish(5))


def test_foreign_files_are_not_overwritten(served: Recommender, tmp_path: Path) -> None:
    (tmp_path / "notes.parquet").write_text("my notes")
    with pytest.raises(ConfigError, match=r"notes\.parquet: exists and holds no lists of avrec .* Name another file"):
        write_lists(served, tmp_path / "notes.parquet", Wish(5))
    assert (tmp_path / "notes.parquet").read_text() == "my notes"
    pq.write_table(pa.table({"a": [1]}), tmp_path / "table.parquet")
    with pytest.raises(ConfigError, match=r"table\.parquet: was made otherwise"):
        write_lists(served, tmp_path / "table.parquet", Wish(5))


def test_two_at_once_are_refused(served: Recommender, tmp_path: Path) -> None:
    with (
        file_lock(tmp_path / "lists.parquet.parts" / "lock"),
        pytest.raises(ConfigError, match=r"another process is writing lists\.parquet. Wait for it"),
    ):
        write_lists(served, tmp_path / "lists.parquet", Wish(5))


def test_a_damaged_part_is_named(served: Recommender, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(batch, "_seal", lambda *words: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_lists(served, tmp_path / "lists.parquet", Wish(5))
    monkeypatch.undo()
    monkeypatch.setattr(batch, "MAX_USERS_PER_PART", 3)
    part = tmp_path / "lists.parquet.parts" / f"{9:012d}.parquet"
    part.write_bytes(part.read_bytes()[:50])
    with pytest.raises(ArtefactError, match=rf"{part.name}: damaged .* Delete it and repeat the command"):
        write_lists(served, tmp_path / "lists.parquet", Wish(5))
    part.unlink()
    assert write_lists(served, tmp_path / "lists.parquet", Wish(5)).resumed == NUM_USERS - 3
    same_rows(rows(tmp_path / "lists.parquet"), expected(served, 5))


def test_k_below_one_leaves_nothing(served: Recommender, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="k is 0; expected at least 1"):
        write_lists(served, tmp_path / "lists.parquet", replace(Wish(1), k=0))
    assert os.listdir(tmp_path) == []


KILLED = """
import sys, time
import avrec.bundle.batch as batch
from avrec.bundle.reader import Bundle
from avrec.bundle.recommender import Recommender

batch.MAX_USERS_PER_PART = 3
batch.write_lists(Recommender(Bundle.open(sys.argv[1])), sys.argv[2], batch.Wish(5), lambda *done: time.sleep(float(sys.argv[3])))
"""


def test_kill_9_loses_and_repeats_nothing(served: Recommender, attention_world: World, tmp_path: Path) -> None:
    path = tmp_path / "lists.parquet"
    words = [sys.executable, "-c", KILLED, str(attention_world.folder), str(path)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([*words, "0.1"], env=environment)
    deadline = time.monotonic() + 60
    while len(list((tmp_path / "lists.parquet.parts").glob("0*.parquet"))) < 2 and time.monotonic() < deadline:
        assert process.poll() is None, "it ended before it could be killed"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not path.exists()
    assert write_lists(served, path, Wish(5)).resumed >= 6
    same_rows(rows(path), expected(served, 5))
    assert os.listdir(tmp_path) == ["lists.parquet"]
