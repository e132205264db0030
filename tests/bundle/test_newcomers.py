import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from avrec.bundle.newcomer_tables import ALONE, TOGETHER, NewcomerTables
from avrec.bundle.queries import query_users
from avrec.bundle.reader import Bundle
from avrec.bundle.recommender import Recommender
from avrec.bundle.strangers import Stranger, query_strangers
from avrec.bundle.verify import verify
from avrec.core.errors import ArtefactError, DataError
from avrec.core.query import UserQuery
from avrec.retrieval.newcomers import Newcomers
from avrec.retrieval.side_facts import SideFacts
from tests.bundle.test_reader import forge
from tests.export.newcomer_world import CALM, LOUD, NUM_USERS, newcomer_dataset, newcomer_world
from tests.export.world import World

FILES = {name for part in TOGETHER for name in part} | set(ALONE)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return newcomer_world(tmp_path_factory.mktemp("newcomers") / "bundle")


@pytest.fixture(scope="module")
def served(world: World) -> Recommender:
    return Recommender(Bundle.open(world.folder))


@pytest.fixture
def folder(world: World, tmp_path: Path) -> Path:
    return Path(shutil.copytree(world.folder, tmp_path / "bundle"))


def numbers(item_ids: tuple[str, ...]) -> set[int]:
    return {int(item_id.split()[1]) for item_id in item_ids}


def test_the_bundle_holds_what_the_data_set_tells(world: World, served: Recommender) -> None:
    assert FILES <= {path.name for path in world.folder.iterdir()} and verify(world.folder).ok
    tables, facts = served.bundle.newcomers, SideFacts.of(world.dataset, world.history)
    vectors = world.scorer.user_vectors(UserQuery.of_users(np.arange(NUM_USERS), world.history).as_strangers())
    offline = Newcomers.of(vectors, world.history.user_counts > 0, facts.profiles, facts.told.groups)
    for name in ("mean", "tags", "groups", "tag_size", "group_size"):
        np.testing.assert_array_equal(getattr(tables.newcomers, name), getattr(offline, name))
    assert tables.tags.array.to_pylist() == ["calm", "loud", "of nobody"]
    np.testing.assert_array_equal(tables.item_tags.dense(), world.dataset.item_tags.rows.dense())
    assert str(tables.groups) == str(facts.groups)  # as text, since NaN equals nothing


def test_only_users_without_a_history_are_told_of(served: Recommender) -> None:
    told = served.bundle.newcomers.told
    assert np.flatnonzero(told.interests.row_counts).tolist() == [20]  # 0 has interests and a history
    assert np.flatnonzero(told.friends.row_counts).tolist() == [21]
    assert np.flatnonzero(told.groups.row_counts).tolist() == [22]


def test_known_users_without_a_history_are_answered_in_order(served: Recommender) -> None:
    answers = served.for_users(["user 0", "user 20", "user 21", "user 22", "user 23"], 5)
    assert [answer.how for answer in answers] == ["known user", "interests", "friends", "fields", "popularity"]
    assert numbers(answers[1].item_ids) < set(CALM) and numbers(answers[2].item_ids) < set(LOUD)
    assert numbers(answers[3].item_ids) < set(LOUD)
    counts = served.bundle.evidence
    assert list(answers[4].scores) == sorted(counts.tolist(), reverse=True)[:5]


@pytest.mark.parametrize(
    ("stranger", "how", "taste"),
    [
        (Stranger(interests=["calm"]), "interests", CALM),
        (Stranger(interests={"loud": 5.0, "calm": 0.1}), "interests", LOUD),
        (Stranger(friends=["user 15", "user 11"]), "friends", LOUD),
        (Stranger(fields={"age": 19, "country": "NO"}), "fields", CALM),
        (Stranger(fields={"age": "61.5"}), "fields", LOUD),
        (Stranger(history=["item 12"]), "history", LOUD),
        (Stranger(history=["item 12"], friends=["user 1"]), "history", LOUD),
        (Stranger(interests=["loud"], friends=["user 1"], fields={"country": "NO"}), "interests", LOUD),
        (Stranger(friends=["user 1"], fields={"country": "SE"}), "friends", CALM),
        (Stranger(interests=["of nobody"], friends=["user 23", "user 21"], fields={"country": "SE"}), "fields", LOUD),
    ],
)
def test_a_stranger_is_answered_by_his_taste(served: Recommender, stranger: Stranger, how: str, taste: range) -> None:
    answer = served.for_strangers([stranger], 5)[0]
    assert answer.how == how and numbers(answer.item_ids) < set(taste)


def test_what_is_not_known_is_named_and_the_next_thing_answers(served: Recommender) -> None:
    stranger = Stranger(
        history=["item 99"],
        interests=["of nobody", "jazz"],
        friends=["user 5", "who?", "who?"],
        fields={"age": "old", "size": 3, "country": "SE"},
    )
    answer = served.for_strangers([stranger], 3)[0]
    assert answer.how == "friends"
    assert answer.unknown == (
        "item 'item 99'",
        "interest 'of nobody'",
        "interest 'jazz'",
        "friend 'who?'",
        "field 'age' of 'old'",
        "field 'size' of 3",
    )
    nobody, somebody = served.for_strangers([Stranger(interests=["jazz"]), Stranger(interests=["calm"])], 3)
    assert nobody.how == "popularity" and nobody.unknown == ("interest 'jazz'",) and somebody.unknown == ()
    assert served.for_strangers([], 3) == []


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
def test_a_weight_that_is_none_is_refused(served: Recommender, weight: float) -> None:
    with pytest.raises(DataError, match=r"interest 'calm' weighs .*; give a positive number"):
        served.for_strangers([Stranger(interests={"calm": weight})], 3)


def test_a_history_and_interests_count_together(served: Recommender) -> None:
    history = Stranger(history=["item 12"])
    both = replace(history, interests=["calm"])
    plain, mixed = served.for_strangers([history, both], 20)
    first = {item: place for place, item in enumerate(mixed.item_ids)}
    before = {item: place for place, item in enumerate(plain.item_ids)}
    calm = [f"item {number:02d}" for number in CALM]
    assert sum(first.get(item, 20) for item in calm) < sum(before.get(item, 20) for item in calm)
    assert mixed.how == "history" and "item 12" not in mixed.item_ids


def test_an_answer_does_not_depend_on_who_else_asks(served: Recommender) -> None:
    """User 20 told interests and has no stored history; here he comes with one."""
    bundle = served.bundle
    alone = UserQuery.of_users(np.array([20]), bundle.history)
    one = np.ones(1, np.float32)
    alone = UserQuery(alone.user_idx, np.array([0, 1]), np.array([12]), one, 0 * one)
    together = UserQuery(np.array([20, 23]), np.array([0, 1, 1]), np.array([12]), one, 0 * one)
    first, both = served.answered(alone), served.answered(together)
    np.testing.assert_array_equal(first.vectors[0], both.vectors[0])
    assert first.how[0] == both.how[0]


def test_a_profile_looks_at_the_history_s_own_items(served: Recommender) -> None:
    tables = served.bundle.newcomers
    assert tables.profile(np.zeros(0, np.int64)) == {}
    whole = tables.profile(np.arange(tables.item_tags.num_rows))
    again = tables.profile(np.repeat(np.arange(tables.item_tags.num_rows), 2))
    assert whole and whole == pytest.approx(again) and sum(whole.values()) == pytest.approx(1)


def test_scores_are_those_of_pytorch(world: World, served: Recommender) -> None:
    tables, vectors = served.bundle.newcomers, world.scorer.item_vectors
    answer = served.for_strangers([Stranger(interests=["calm"])], 26)[0]
    expected = tables.newcomers.mean + 1.5 * (tables.newcomers.tags[0] - tables.newcomers.mean)
    assert list(answer.scores) == pytest.approx(sorted((vectors @ expected).tolist(), reverse=True), abs=1e-5)
    friends = served.for_strangers([Stranger(friends=["user 3"])], 26)[0]
    query = UserQuery.of_users(np.array([3]), world.history)
    shrunk = (world.scorer.user_vectors(query)[0] + tables.newcomers.mean) / 2
    assert list(friends.scores) == pytest.approx(sorted((vectors @ shrunk).tolist(), reverse=True), abs=1e-5)


def test_a_user_s_own_vector_answers_before_popularity(world: World, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(world.folder, tmp_path / "bundle"))
    own = np.load(folder / "user_vectors.npy")
    own[20:24] = [0.0, 3.0, 0.0, 0.0]
    np.save(folder / "user_vectors.npy", own)
    forge(folder, "user_vectors.npy")
    answers = Recommender(Bundle.open(folder)).for_users(["user 20", "user 23"], 5)
    assert [answer.how for answer in answers] == ["interests", "known user"]
    assert numbers(answers[0].item_ids) < set(CALM) and numbers(answers[1].item_ids) < set(LOUD)


def test_popular_items_obey_what_may_be_shown(served: Recommender) -> None:
    query = query_users(served.bundle, ["user 23", "user 0"])
    allowed = np.zeros(26, np.bool_)
    allowed[[24, 25, 3]] = True
    item_idx, scores, _ = served.top(query, 5, allowed=allowed)
    assert item_idx[0].tolist()[0] == 3 and set(item_idx[0, :3]) == {3, 24, 25} and item_idx[0, 3:].tolist() == [-1, -1]
    assert (
        scores[0, 3:].tolist() == [-np.inf, -np.inf]
        and (scores[0, :3] == served.bundle.evidence[item_idx[0, :3]]).all()
    )


def test_a_data_set_that_tells_nothing_gives_a_mean_alone(folder: Path, tmp_path: Path) -> None:
    dataset = replace(newcomer_dataset(), item_tags=None, user_interests=None, social=None, user_fields={})
    facts, vectors = SideFacts.of(dataset, dataset.train), np.ones((NUM_USERS, 5), np.float32)
    newcomers = Newcomers.of(vectors, dataset.train.user_counts > 0, facts.profiles, facts.told.groups)
    told = facts.told_without_history(dataset.train)
    NewcomerTables(newcomers, facts.tags, facts.item_tags, facts.groups, told).write(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} - {"bundle"} == {"mean_user_vector.npy"}
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"] = {name: record for name, record in manifest["files"].items() if name not in FILES}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    served = Recommender(Bundle.open(folder))
    stranger = Stranger(interests=["calm"], friends=["user 2"], fields={"age": 3})
    answer = served.for_strangers([stranger], 3)[0]
    assert answer.how == "friends" and answer.unknown == ("interest 'calm'", "field 'age' of 3")
    assert query_strangers(served.bundle, [Stranger()])[1].interests.num_columns == 0


@pytest.mark.parametrize("name", sorted(FILES - set(ALONE) - {"mean_user_vector.npy"}))
def test_files_that_belong_together_come_together(folder: Path, name: str) -> None:
    (folder / name).unlink()

    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["files"][name]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtefactError, match=rf"'files' lacks \['{name}'\]"):
        Bundle.open(folder)


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_changed_file_is_refused_by_name(folder: Path, name: str) -> None:
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(ArtefactError, match=rf"{name}: sha256"):
        Bundle.open(folder)


def changed(path: Path, name: str, values: list[object], kind: pa.DataType | None = None) -> None:
    table = pq.read_table(path)
    column = pa.array(values, kind or table[name].type)
    pq.write_table(table.set_column(table.column_names.index(name), name, column), path)


@pytest.mark.parametrize(
    ("file", "column", "value", "message"),
    [
        ("item_tags.parquet", "tag_idx", 3, r"item_tags\.parquet: column 'tag_idx' holds .* 3; there are 3"),
        ("item_tags.parquet", "item_idx", -1, r"column 'item_idx' holds -1"),
        (
            "told_friends.parquet",
            "friend_idx",
            24,
            r"told_friends\.parquet: column 'friend_idx' holds .* 24; there are 24",
        ),
        ("told_interests.parquet", "weight", float("nan"), r"column 'weight' holds a number that is not positive"),
        ("told_groups.parquet", "weight", 0.0, r"column 'weight' holds a number that is not positive"),
        ("groups.parquet", "users", None, r"groups\.parquet: column 'users' is float, 1 null; expected float32"),
        ("groups.parquet", "users", float("nan"), r"groups\.parquet: column 'users' holds no number of users"),
        ("tags.parquet", "users", -1.0, r"tags\.parquet: column 'users' holds no number of users"),
        ("groups.parquet", "field", None, r"'field' and 'value' are not texts"),
        ("tags.parquet", "tag", None, r"tags\.parquet: column 'tag': 1 ids are null"),
        ("tags.parquet", "tag", "loud", r"tags\.parquet: column 'tag': 1 ids occur more than once"),
    ],
)
def test_a_table_of_another_world_is_refused(folder: Path, file: str, column: str, value: object, message: str) -> None:
    values = pq.read_table(folder / file)[column].to_pylist()
    changed(folder / file, column, [value, *values[1:]])
    forge(folder, file)
    with pytest.raises(ArtefactError, match=message):
        Bundle.open(folder)


@pytest.mark.parametrize("name", ["tag_vectors.npy", "group_vectors.npy", "mean_user_vector.npy"])
def test_vectors_of_another_shape_or_not_finite_are_refused(folder: Path, name: str) -> None:
    vectors = np.load(folder / name)
    np.save(folder / name, np.full_like(vectors, np.nan))
    forge(folder, name)
    assert any(f"{name}: holds a value that is not finite" in problem for problem in verify(folder).problems)
    np.save(folder / name, vectors[:-1])
    forge(folder, name)
    with pytest.raises(ArtefactError, match=rf"{name}: float32 \(.*\); expected float32 \("):
        Bundle.open(folder)
