import numpy as np
import pytest

from avrec.core.ids import IdMap
from avrec.core.interactions import Interactions
from avrec.core.side import CategoryField, NumericField
from avrec.core.sparse import SparseRows
from avrec.retrieval import newcomers as module
from avrec.retrieval.field_groups import MAX_VALUES, FieldGroups
from avrec.retrieval.newcomers import FRIENDS_KAPPA, GROUP_KAPPA, HISTORY_KAPPA, STRETCH, TAG_KAPPA, Newcomers
from avrec.retrieval.tag_profiles import tag_profiles
from avrec.retrieval.told import Told

DRAW = np.random.default_rng(0)
U, T, G, W = 12, 5, 4, 3


def sparse(dense: np.ndarray) -> SparseRows:
    row, column = np.nonzero(dense)
    return SparseRows.from_entries(row, column, *dense.shape, dense[row, column].astype(np.float32))


@pytest.fixture
def world() -> dict[str, np.ndarray]:
    profiles = DRAW.random((U, T)) * (DRAW.random((U, T)) < 0.6)
    profiles[:, 4] = 0.0  # a tag of nobody
    members = (DRAW.random((U, G)) < 0.4).astype(float)
    members[:, 3] = 0.0
    taught = np.ones(U, np.bool_)
    taught[[3, 7]] = False
    return {
        "vectors": DRAW.standard_normal((U, W)).astype(np.float32),
        "profiles": profiles,
        "members": members,
        "taught": taught,
    }


def made(world: dict[str, np.ndarray]) -> Newcomers:
    return Newcomers.of(world["vectors"], world["taught"], sparse(world["profiles"]), sparse(world["members"]))


def naive_mean(world: dict[str, np.ndarray], weights: np.ndarray, kappa: float) -> np.ndarray:
    mean = world["vectors"][world["taught"]].mean(axis=0)
    top, size = kappa * mean, kappa
    for user in range(U):
        if world["taught"][user]:
            top, size = top + weights[user] * world["vectors"][user], size + weights[user]
    return top / size


@pytest.mark.parametrize("block", [1, 2, 65_536])
def test_vectors_of_tags_and_groups_are_shrunk_means_of_users(
    world: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(module, "BLOCK_ENTRIES", block)
    found = made(world)
    np.testing.assert_allclose(found.mean, world["vectors"][world["taught"]].mean(axis=0), rtol=1e-6)
    for tag in range(T):
        np.testing.assert_allclose(found.tags[tag], naive_mean(world, world["profiles"][:, tag], TAG_KAPPA), atol=1e-5)
    for group in range(G):
        np.testing.assert_allclose(
            found.groups[group], naive_mean(world, world["members"][:, group], GROUP_KAPPA), atol=1e-5
        )
    np.testing.assert_allclose(found.tag_size, world["profiles"][world["taught"]].sum(axis=0), rtol=1e-6)
    assert found.tag_size[4] == found.group_size[3] == 0
    np.testing.assert_allclose(found.tags[4], found.mean, rtol=1e-6)  # what nobody has is like everybody


def told(
    interests: dict[int, float] | None = None, friends: dict[int, float] | None = None, groups: tuple[int, ...] = ()
) -> Told:
    def row(entries: dict[int, float], width: int) -> SparseRows:
        column = np.array(sorted(entries), np.int64)
        weight = np.array([entries[one] for one in sorted(entries)], np.float32)
        return SparseRows.from_entries(np.zeros(len(column), np.int64), column, 1, width, weight)

    return Told(row(interests or {}, T), row(friends or {}, U), row(dict.fromkeys(groups, 1.0), G))


def answer(world: dict[str, np.ndarray], told: Told, history: np.ndarray | None = None, events: int = 0):
    history = np.zeros((1, W), np.float32) if history is None else history
    found = made(world).answer(
        told, history, np.array([events]), lambda users: (world["vectors"][users], world["taught"][users])
    )
    return found.vectors[0], found.how[0]


def test_interests_are_the_stretched_mean_of_their_tags_by_weight(world: dict[str, np.ndarray]) -> None:
    newcomers = made(world)
    vector, how = answer(world, told({0: 1.0, 2: 3.0}))
    mean_of_tags = (newcomers.tags[0] + 3 * newcomers.tags[2]) / 4
    assert how == "interests"
    np.testing.assert_allclose(vector, newcomers.mean + STRETCH * (mean_of_tags - newcomers.mean), atol=1e-6)


def test_friends_are_their_mean_by_closeness_shrunk(world: dict[str, np.ndarray]) -> None:
    vector, how = answer(world, told(friends={1: 2.0, 3: 50.0, 4: 1.0}))  # 3 has no history
    expected = 2 * world["vectors"][1] + world["vectors"][4] + FRIENDS_KAPPA * made(world).mean
    assert how == "friends"
    np.testing.assert_allclose(vector, expected / (3 + FRIENDS_KAPPA), atol=1e-6)


def test_fields_add_up(world: dict[str, np.ndarray]) -> None:
    newcomers = made(world)
    vector, how = answer(world, told(groups=(0, 2)))
    assert how == "fields"
    np.testing.assert_allclose(vector, newcomers.groups[0] + newcomers.groups[2] - newcomers.mean, atol=1e-6)


def test_the_first_thing_that_says_anything_answers(world: dict[str, np.ndarray]) -> None:
    history = np.ones((1, W), np.float32)
    everything = {"interests": {1: 1.0}, "friends": {1: 1.0}, "groups": (1,)}
    assert answer(world, told(**everything), history, 2)[1] == "history"
    for kind, way in (("interests", "friends"), ("friends", "fields"), ("groups", "popularity")):
        assert answer(world, told(**everything))[1] == ("fields" if kind == "groups" else kind)
        del everything[kind]
        assert answer(world, told(**everything))[1] == way
    assert not answer(world, told())[0].any()


def test_what_says_nothing_is_passed_over(world: dict[str, np.ndarray]) -> None:
    assert answer(world, told({4: 1.0}, {3: 1.0, 7: 1.0}, (3,)))[1] == "popularity"
    assert answer(world, told({4: 1.0}, {3: 1.0, 2: 1.0}))[1] == "friends"
    alone = answer(world, told({0: 1.0}))[0]
    np.testing.assert_array_equal(answer(world, told({0: 1.0, 4: 9.0}))[0], alone)


def test_a_history_stands_alone_or_beside_interests(world: dict[str, np.ndarray]) -> None:
    history = np.array([[1.0, -2.0, 0.5]], np.float32)
    interests = answer(world, told({0: 1.0}))[0]
    np.testing.assert_array_equal(answer(world, told(friends={1: 1.0}), history, 3)[0], history[0])
    for events in (1, 3, 50):
        vector, how = answer(world, told({0: 1.0}), history, events)
        share = events / (events + HISTORY_KAPPA)
        assert how == "history"
        np.testing.assert_allclose(vector, share * history[0] + (1 - share) * interests, atol=1e-6)


def test_newcomers_of_a_batch_do_not_touch_each_other(world: dict[str, np.ndarray]) -> None:
    parts = [told({0: 1.0}), told(), told(friends={1: 1.0, 2: 1.0}), told(groups=(1,)), told({2: 2.0})]
    found = made(world).answer(
        Told.stacked(parts), np.zeros((5, W), np.float32), np.zeros(5, np.int64),
        lambda users: (world["vectors"][users], world["taught"][users]),
    )  # fmt: skip
    for row, part in enumerate(parts):
        vector, how = answer(world, part)
        np.testing.assert_allclose(found.vectors[row], vector, atol=1e-6)
        assert found.how[row] == how
    again = Told.stacked(parts).taken(np.array([2, -1, 0]))
    assert [len(one.column) for one in (again.interests, again.friends)] == [1, 2]
    assert again.friends.row.tolist() == [0, 0] and again.interests.row.tolist() == [2]


def test_what_is_told_twice_is_joined() -> None:
    joined = told({0: 1.0}, {1: 1.0}).joined(told({0: 2.0, 3: 1.0}, None, (2,)))
    assert joined.interests.column.tolist() == [0, 3] and joined.interests.weight.tolist() == [3.0, 1.0]
    assert joined.friends.column.tolist() == [1] and joined.groups.column.tolist() == [2]


def test_nobody_teaches_nothing() -> None:
    nothing = SparseRows.from_entries(np.zeros(0, np.int64), np.zeros(0, np.int64), 2, 3)
    found = Newcomers.of(np.ones((2, W), np.float32), np.zeros(2, np.bool_), nothing, nothing)
    assert not found.mean.any() and not found.tags.any() and np.isfinite(found.groups).all()


def test_a_profile_is_the_share_of_each_tag(monkeypatch: pytest.MonkeyPatch) -> None:
    item_tags = np.array([[1, 0, 3], [0, 7, 0], [0, 0, 0], [2, 2, 0]], np.float32)
    history = Interactions.from_events(np.array([0, 0, 2, 3, 3]), np.array([0, 1, 2, 3, 2]), 4, 4)
    expected = np.zeros((4, 3))
    for user, item in zip(history.user_idx, history.item_idx, strict=True):
        shares = np.log1p(item_tags[item])
        expected[user] += shares / max(shares.sum(), 1e-12)
    expected /= np.maximum(expected.sum(axis=1, keepdims=True), 1e-12)
    for block in (1, 4096):
        monkeypatch.setattr("avrec.retrieval.tag_profiles.BLOCK_USERS", block)
        np.testing.assert_allclose(tag_profiles(history, sparse(item_tags)).dense(), expected, atol=1e-6)


AGE = NumericField(np.array([0.0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100]), np.array([False] + [True] * 10))
SEX = CategoryField(np.array([0, 1, 1, -1, 0, 0, 0, 0, 0, 0, 0]), IdMap(["f", "m"]))


def test_groups_are_names_and_bands() -> None:
    groups = FieldGroups.of({"sex": SEX, "age": AGE})
    assert groups.field == ("age",) * 5 + ("sex",) * 2
    assert groups.value[5:] == ("f", "m") and groups.takes_numbers("age") and not groups.takes_numbers("sex")
    members = groups.members({"sex": SEX, "age": AGE}, 11)
    assert members.column_counts[:5].tolist() == [2] * 5
    for user in range(11):
        found = set(members.column[members.indptr[user] : members.indptr[user + 1]].tolist())
        asked = {groups.find("age", AGE.values[user])} if AGE.present[user] else set()
        asked |= {groups.find("sex", "fm"[SEX.code[user]])} if SEX.code[user] >= 0 else set()
        assert found == asked
    assert groups.find("age", -5) == 0 and groups.find("age", "1000") == 4 and groups.find("sex", "m") == 6


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("age", "old"),
        ("age", "nan"),
        ("age", float("inf")),
        ("age", 10**400),
        ("age", ""),
        ("sex", "x"),
        ("sex", 1.0),
        ("size", "f"),
        ("", ""),
    ],
)
def test_a_value_that_no_group_has_is_found_nowhere(name: str, value: object) -> None:
    assert FieldGroups.of({"sex": SEX, "age": AGE}).find(name, value) == -1


def test_few_values_are_bands_of_their_own_and_names_of_people_are_left_out() -> None:
    flag = NumericField(np.array([0.0, 0, 0, 1, 1]), np.ones(5, np.bool_))
    nobody = NumericField(np.zeros(5), np.zeros(5, np.bool_))
    nick = CategoryField(np.zeros(5, np.int64), IdMap([str(one) for one in range(MAX_VALUES + 1)]))
    level = CategoryField(np.array([0, 0, 1, 1, 2]), IdMap(["1", "2", "3"]))  # one user alone has 3: that names him
    alone = FieldGroups.of({"level": level})
    assert alone.value == ("1", "2") and alone.find("level", 2.0) == alone.find("level", 2) == 1
    assert alone.find("level", "3") == -1 and alone.members({"level": level}, 5).row_counts.tolist() == [1, 1, 1, 1, 0]
    groups = FieldGroups.of({"flag": flag, "nick": nick, "none": nobody})
    assert groups.names == ("flag",) and groups.find("flag", 0) == 0 and groups.find("flag", 1) == 1
    assert len(FieldGroups.of({})) == 0 and FieldGroups().members({}, 3).row_counts.tolist() == [0, 0, 0]
