"""`avrec recommend` beyond a user's list: what resembles an item, lists in another order, and everybody's lists in a file."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from avrec.bundle.reader import Bundle
from avrec.bundle.recommender import Recommender
from tests.pipelines.conftest import read
from tests.pipelines.world import NUM_USERS, item_id, user_id

CONFIG, DATA = 2, 3


@pytest.fixture(scope="module")
def served(bundle):
    return Recommender(Bundle.open(bundle))


@pytest.fixture
def ask(console, bundle):
    return lambda *words, code=0: console("recommend", f"bundle_dir={bundle}", *words, code=code)


def ids_of(answer):
    return [line.split("│")[2].strip() for line in answer.out.splitlines() if line.count("│") == 4]


@pytest.mark.parametrize("by", ["sound", "picture", "visual", "content", "taste", "time"])
def test_more_like_this(ask, served, by):
    answer = ask(f"item='{item_id(3)}'", f"by={by}", "k=4")
    assert answer.out.startswith(f"{item_id(3)}: answered from likeness by {by}\n")
    assert tuple(ids_of(answer)) == served.similar(item_id(3), 4, by).item_ids


def test_more_like_this_by_content_unless_told_otherwise(ask):
    assert ask(f"item='{item_id(3)}'").out.startswith(f"{item_id(3)}: answered from likeness by content\n")


def test_a_list_in_another_order(ask, served):
    plain, varied = (ids_of(ask(f"user='{user_id(7)}'", "k=12", *words)) for words in ([], ["rerank.mmr_lambda=0.2"]))
    assert len(plain) == len(varied) == 12 and plain[0] == varied[0] and plain != varied


def test_seen_items_and_allowed_ones(ask, console, served):
    history = served.bundle.history
    user = served.bundle.users.index([user_id(7)])[0]
    seen = served.bundle.items.ids(history.item_idx[history.indptr[user] : history.indptr[user + 1]])
    (console.folder / "on_sale.txt").write_text("\n".join(seen) + "\n\n")
    pq.write_table(pa.table({"item_id": seen}), console.folder / "on_sale.parquet")
    for name in ("on_sale.txt", "on_sale.parquet"):
        assert ids_of(ask(f"user='{user_id(7)}'", f"allowed={name}")) == []
        assert set(ids_of(ask(f"user='{user_id(7)}'", f"allowed={name}", "exclude_seen=false"))) == set(seen)


def test_everybodys_lists(ask, console):
    first = ask("users=all", "out=lists.parquet", "k=5")
    assert f"0 of {NUM_USERS} users stand" in first.out
    assert f"lists.parquet: the lists of {NUM_USERS} users; " in first.out
    table = pq.read_table(console.folder / "lists.parquet")
    assert table.num_rows == NUM_USERS * 5 and set(table["rank"].to_pylist()) == {1, 2, 3, 4, 5}
    of_one = [row["item_id"] for row in table.to_pylist() if row["user_id"] == user_id(7)]
    assert of_one == ids_of(ask(f"user='{user_id(7)}'", "k=5"))
    assert f"{NUM_USERS} of them stood already" in ask("users=all", "out=lists.parquet", "k=5").out
    text = ask("users=all", "out=lists.parquet", "k=6", code=CONFIG).err
    assert "lists.parquet: was made otherwise than asked now: k differ. Delete it, or name another file." in text


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["users=all"], "users=all writes the lists of everybody, and needs out=FILE.parquet."),
        (["users=some", "out=a.parquet"], "users=all writes the lists of everybody, and needs out=FILE.parquet."),
        (["user=1", "out=a.parquet"], "out=a.parquet is written for users=all; other answers are printed."),
        (
            ["item=clip-01", "rerank.mmr_lambda=0.5"],
            "rerank puts the lists of users in another order; with item=ID leave it out.",
        ),
        (["item=clip-01", "exclude_seen=false"], "exclude_seen is of users' histories; with item=ID leave it out."),
        (["user=1", "by=sound"], "by=sound says how items are alike; it needs item=ID."),
        (["item=1", "users=all", "out=a.parquet"], "found ['item', 'users']."),
        (["user=1", "rerank.mmr_lambda=2"], "mmr_lambda is 2; expected a number from 0 to 1."),
        (["item=clip-01", "by=smell"], "by: 'smell' is no way in which"),
    ],
)
def test_mistakes_are_told(ask, console, words, text):
    assert text in ask(*words, code=CONFIG).err
    assert not (console.folder / "a.parquet").exists()


def test_an_allowed_item_that_is_unknown(ask, console):
    (console.folder / "some.txt").write_text(f"{item_id(1)}\nclip-xx\n")
    text = ask("user='user 07'", "allowed=some.txt", code=DATA).err
    assert "some.txt: 1 of 2 items are not in" in text and "the first is 'clip-xx'" in text
    answer = ask("user='user 07'", "allowed=some.txt", "exclude_seen=false", "unknown=serve")
    assert "They are left aside." in answer.out and ids_of(answer) == [item_id(1)]
    (console.folder / "none.txt").write_text("\n")
    assert "none.txt: names no item" in ask("user='user 07'", "allowed=none.txt", code=DATA).err
    assert "gone.txt: cannot be read" in ask("user='user 07'", "allowed=gone.txt", code=DATA).err


def test_what_reranking_cannot_do_is_said_before_anything_is_trained(console, data):
    answer = console("train", *data, "rerank=prices", "rerank.released=nowhere", "run_dir=untrained", code=2)
    assert "'nowhere'" in answer.err and not (console.folder / "untrained" / "checkpoints").exists()


def test_what_reranking_costs_is_printed_and_kept(console, run, data):

    words = ["baseline=[popularity]", "rerank.mmr_lambda=[0.5,0]", "rerank.fresh_weight=[0.5]", "rerank.pool=30"]
    answer = console("evaluate", f"ckpt={run.model}", "run_dir=priced", *words)
    assert "what re-ranking costs, on validation (60 users)" in answer.out
    document = read(console.folder / "priced" / "rerank.json")
    assert list(document["rows"]) == sorted(document["rows"])  # JSON is written with sorted keys
    assert set(document["rows"]) == {
        "as ranked", "MMR, lambda 0.5", "MMR, lambda 0", "fresh, weight 0.5", "seen items not hidden",
    }  # fmt: skip
    rows = document["rows"]
    assert rows["MMR, lambda 0"]["diversity@20"] > rows["as ranked"]["diversity@20"]
    assert rows["fresh, weight 0.5"]["mean_age_days@20"] < rows["as ranked"]["mean_age_days@20"]
    assert document["alike_by"] == "content" and document["users"] == NUM_USERS
    levels = read(console.folder / "priced" / "metrics.json")["levels"]
    assert set(levels) == {"hybrid", "collaborative", "content-based"}
    caption = " ".join(answer.out.split())
    assert "levels of one model: “overall” is the hybrid score, “ids only” the collaborative one" in caption
    assert not console("evaluate", f"ckpt={run.model}", "run_dir=free", words[0], "rerank=none").out.count("re-ranking")
    assert "rerank.json" not in {path.name for path in (console.folder / "free").iterdir()}
