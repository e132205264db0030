"""Side information as feature modalities: the formulas against plain loops, what is learned from whom, and what is kept."""

from dataclasses import replace

import numpy as np
import pytest

from avrec.core.dataset import Dataset, Feature
from avrec.core.errors import ArtefactError, ConfigError
from avrec.core.ids import IdMap
from avrec.core.interactions import Interactions
from avrec.core.side import CategoryField, Knowledge, NumericField, Tags
from avrec.core.sparse import SparseRows
from avrec.factors.side.base import fit_side, with_side
from avrec.factors.side.fields import FieldVectors
from avrec.factors.side.graph import GraphVectors
from avrec.factors.side.tags import TagVectors

NUM_ITEMS, COLD = 60, 12  # the last 12 are cold


def dataset(**side):
    """Five users; everything but the last items is trained."""
    items = np.arange(NUM_ITEMS - COLD)
    train = Interactions.from_events(items % 5, items, 5, NUM_ITEMS)
    empty = Interactions.from_events(np.zeros(0, np.int64), np.zeros(0, np.int64), 5, NUM_ITEMS)
    ids = [IdMap([f"{letter}{row:02d}" for row in range(number)]) for letter, number in (("u", 5), ("i", NUM_ITEMS))]
    return Dataset("side", "side", *ids, train, empty, empty, **side)


def tags(entries, names, num_items=NUM_ITEMS):
    """Tags of (item, name, count)."""
    known = IdMap.from_values(names)
    item, name, count = zip(*entries, strict=True)
    rows = SparseRows.from_entries(
        np.array(item), known.index(list(name)), num_items, len(known), np.array(count, float)
    )
    return Tags(known, rows)


@pytest.fixture
def tagged():
    """Item i has the tag of its genre (i mod 4), 3 to 5 random words of its genre's 12, and every tenth has none."""
    draw = np.random.default_rng(3)
    entries = []
    for item in range(NUM_ITEMS):
        genre = item % 4
        if item % 10 == 9:
            continue
        entries.append((item, f"genre{genre}", 7))
        words = draw.permutation(12)[: draw.integers(3, 6)]
        entries += [(item, f"word{genre}-{word:02d}", int(draw.integers(1, 4))) for word in words]
    entries.append((0, "only once", 5))
    entries += [(NUM_ITEMS - 2, "cold tag", 1), (NUM_ITEMS - 3, "cold tag", 1)]
    return dataset(item_tags=tags(entries, [name for _, name, _ in entries]))


def cosine(values):
    return values @ values.T / np.outer(*[np.linalg.norm(values, axis=1)] * 2)


def naive_weights(data, min_items):
    """TF-IDF by loops: {name: column} of kept tags and the normalised rows (N, K)."""
    dense, names = data.item_tags.rows.dense(), data.item_tags.names.array.to_pylist()
    trained = range(NUM_ITEMS - COLD)
    kept = [c for c in range(len(names)) if sum(dense[i, c] > 0 for i in trained) >= min_items]
    rows = np.zeros((NUM_ITEMS, len(kept)))
    for place, c in enumerate(kept):
        holders = sum(dense[i, c] > 0 for i in trained)
        for i in range(NUM_ITEMS):
            if dense[i, c] > 0:
                rows[i, place] = np.log(1 + dense[i, c]) * (1 + np.log((1 + NUM_ITEMS - COLD) / (1 + holders)))
    for i in range(NUM_ITEMS):
        if rows[i].any():
            rows[i] /= np.sqrt((rows[i] ** 2).sum())
    return [names[c] for c in kept], rows


@pytest.mark.parametrize("dim", [200, 20])
def test_topics_are_the_leading_directions_of_the_weights(tagged, dim):
    maker = TagVectors(dim=dim, min_items=2)
    state = maker.fit(tagged)
    found = maker.feature(tagged, state)
    names, rows = naive_weights(tagged, 2)
    assert state["tags"] == names
    assert "only once" not in names and "cold tag" not in names and "genre0" in names
    assert found.present.tolist() == [item % 10 != 9 for item in range(NUM_ITEMS)]
    assert found.values.dtype == np.float32 and not found.values[9].any()
    if dim == 200:  # more than there are tags: the weights themselves
        np.testing.assert_allclose(found.values, rows, atol=1e-6)
    else:
        right = np.linalg.svd(rows[: NUM_ITEMS - COLD], full_matrices=False)[2][:dim]
        assert found.values.shape == (NUM_ITEMS, dim)
        np.testing.assert_allclose(cosine_or_zero(found.values), cosine_or_zero(rows @ right.T), atol=1e-5)
        np.testing.assert_allclose(state["projection"].T @ state["projection"], np.eye(dim), atol=1e-5)
        assert (state["projection"].max(axis=0) >= -state["projection"].min(axis=0)).all()
        lengths = np.linalg.norm(rows[: NUM_ITEMS - COLD] @ state["projection"], axis=0)
        assert (np.diff(lengths) < 1e-6).all(), "the leading direction comes first"


def cosine_or_zero(values):
    length = np.linalg.norm(values, axis=1, keepdims=True)
    unit = values / np.where(length > 0, length, 1)
    return unit @ unit.T


def test_a_rare_tag_counts_more_than_a_common_one():
    entries = [(item, "common", 1) for item in range(30)] + [(item, "rare", 1) for item in range(3)]
    data = dataset(item_tags=tags(entries, ["common", "rare"]))
    maker = TagVectors()
    values = maker.feature(data, maker.fit(data)).values
    assert values[0, 1] > 1.5 * values[0, 0] > 0  # columns stand in the order of names
    assert values[20].tolist() == [1, 0]


def test_cold_items_are_placed_among_the_trained_and_teach_nothing(tagged):
    maker = TagVectors(dim=8)
    state = maker.fit(tagged)
    values = maker.feature(tagged, state).values
    similar = cosine_or_zero(values)
    cold = NUM_ITEMS - COLD + 2
    same = [i for i in range(NUM_ITEMS - COLD) if i % 4 == cold % 4 and i % 10 != 9]
    others = [i for i in range(NUM_ITEMS - COLD) if i % 4 != cold % 4 and i % 10 != 9]
    assert similar[cold, same].min() > abs(similar[cold, others]).max() + 0.3
    rows = tagged.item_tags.rows
    trained = rows.row < NUM_ITEMS - COLD
    without = SparseRows.from_entries(
        rows.row[trained], rows.column[trained], NUM_ITEMS, rows.num_columns, rows.weight[trained]
    )
    again = maker.fit(replace(tagged, item_tags=Tags(tagged.item_tags.names, without)))
    assert all(np.array_equal(again[key], state[key]) for key in state)


def test_what_was_kept_serves_another_vocabulary(tagged):
    """A new data set numbers its tags otherwise, lacks some and has others; the vectors of equal tags are equal."""
    maker = TagVectors(dim=10)
    state = maker.fit(tagged)
    before = maker.feature(tagged, state).values
    rows, names = tagged.item_tags.rows, tagged.item_tags.names
    more = ["a new tag", *reversed(names.array.to_pylist())]
    column = IdMap(more).index(names.array)[rows.column]
    other = SparseRows.from_entries(rows.row, column, NUM_ITEMS, len(more), rows.weight)
    found = TagVectors(dim=99).feature(replace(tagged, item_tags=Tags(IdMap(more), other)), state)
    np.testing.assert_allclose(found.values, before, atol=1e-6)


def test_more_topics_than_items_or_directions(tagged):
    twice = [(item, f"{name}{item % 3}", 1) for item in range(NUM_ITEMS) for name in "abcd"]  # rank 3 of 12 tags
    data = dataset(item_tags=tags(twice, [name for _, name, _ in twice]))
    maker = TagVectors(dim=5)
    assert maker.feature(data, maker.fit(data)).values.shape == (NUM_ITEMS, 3)
    few = Interactions.from_events(np.zeros(6, np.int64), np.arange(6), 5, NUM_ITEMS)
    lonely = replace(tagged, train=few)
    assert TagVectors(dim=6, min_items=1).fit(lonely)["projection"].shape[1] <= 6


def test_nothing_to_make_a_modality_of(tagged):
    bare = dataset()
    for maker in (TagVectors(), GraphVectors(), FieldVectors()):
        assert maker.fit(bare) is None
    assert TagVectors(min_items=1000).fit(tagged) is None
    with pytest.raises(ConfigError, match=r"dim is 0 and min_items is 2; expected whole numbers above 0"):
        TagVectors(dim=0).fit(tagged)


def test_the_graph_relates_items_through_what_they_share():
    """Films 0-9 share a director, 10-19 another; a writer links the halves of the first group; films are also sequels."""
    names = [*(f"film{i:02d}" for i in range(20)), "ann", "bob", "drama"]
    entities, relations = IdMap(names), IdMap(["by", "genre", "made", "sequel"])
    triples = [(i, 0, 20 if i < 10 else 21) for i in range(0, 20, 2)]
    triples += [(20 if i < 10 else 21, 2, i) for i in range(1, 20, 2)]  # the same fact, told the other way round
    triples += [(i, 1, 22) for i in range(20)] + [(0, 3, 19)]
    head, relation, tail = np.array(sorted(triples)).T
    entity = np.full(NUM_ITEMS, -1)
    entity[:20] = np.arange(20)
    data = dataset(knowledge=Knowledge(entities, relations, head, relation, tail, entity))
    maker = GraphVectors(dim=2, min_items=2)
    state = maker.fit(data)
    assert state["entities"] == ["ann", "bob", "drama"]
    found = maker.feature(data, state)
    assert found.present.tolist() == [i < 20 for i in range(NUM_ITEMS)]
    similar = cosine_or_zero(found.values)
    assert similar[0, 1] > 0.999 and similar[10, 19] > 0.999 and similar[0, 12] < 0.6
    with pytest.raises(ArtefactError, match=r"reads a knowledge graph, and the data set 'side' has none"):
        maker.feature(dataset(), state)


def number(values, absent=()):
    present = np.ones(NUM_ITEMS, np.bool_)
    present[list(absent)] = False
    return NumericField(np.where(present, np.asarray(values, float), 0.0), present)


def test_a_number_is_shared_among_its_knots():
    values = np.concatenate([np.arange(48.0), np.full(12, 1000.0)])  # the cold ones lie beyond
    values[[50, 51]] = [-7, 23.5]
    data = dataset(
        item_fields={"duration_sec": number(values, absent=[3, 55]), "same": number(np.full(NUM_ITEMS, 2.0))}
    )
    maker = FieldVectors(num_knots=3)
    state = maker.fit(data)
    known = np.delete(np.arange(48.0), 3)
    assert state["scales"] == ["duration_sec"] * 3  # a field that is the same for all tells nothing
    assert state["knots"].tolist() == np.quantile(known, [0, 0.5, 1]).tolist() == [0, 24, 47]
    found = maker.feature(data, state)
    np.testing.assert_allclose(found.values[0], [1, 0, 0])
    np.testing.assert_allclose(found.values[24], [0, 1, 0])
    np.testing.assert_allclose(found.values[6], [0.75, 0.25, 0])
    np.testing.assert_allclose(found.values[51], [0.5 / 24, 23.5 / 24, 0], atol=1e-6)
    np.testing.assert_allclose(found.values[50], [1, 0, 0])  # below the first knot
    np.testing.assert_allclose(found.values[52], [0, 0, 1])  # as new as the newest
    assert not found.values[[3, 55]].any() and not found.present[3] and found.present[4]


def test_a_category_has_a_column_and_rare_ones_share_one():
    names = IdMap(["de", "en", "fr", "xx", "yy"])
    code = np.array([1] * 20 + [0] * 15 + [2] * 8 + [3] * 3 + [-1] * 2 + [4] * 4 + [1, 2, -1, 0] * 2)
    data = dataset(item_fields={"language": CategoryField(code, names)})
    maker = FieldVectors(min_items=5, max_categories=2)
    state = maker.fit(data)
    assert (state["sets"], state["categories"]) == (["language"] * 3, ["en", "de", ""])
    found = maker.feature(data, state)
    expected = np.zeros((NUM_ITEMS, 3))
    for row, value in enumerate(code):
        if value >= 0:
            expected[row, {1: 0, 0: 1}.get(int(value), 2)] = 1
    np.testing.assert_array_equal(found.values, expected)
    np.testing.assert_array_equal(found.present, code >= 0)
    whole = FieldVectors(min_items=1).fit(data)
    assert whole["categories"] == ["en", "de", "fr", "xx"]  # yy is of cold items only: no column, and none is needed
    assert not FieldVectors(min_items=1).feature(data, whole).values[48:52].any()
    assert FieldVectors().fit(dataset(item_fields={"c": CategoryField(np.zeros(NUM_ITEMS, np.int64), names)})) is None


def test_fields_stand_side_by_side_and_may_be_chosen():
    code = CategoryField(np.arange(NUM_ITEMS) % 2, IdMap(["a", "b"]))
    data = dataset(item_fields={"year": number(np.arange(60.0)), "kind": code, "other": number(np.arange(60.0) % 7)})
    maker = FieldVectors(num_knots=4)
    found = maker.feature(data, maker.fit(data))
    assert found.values.shape == (NUM_ITEMS, 4 + 4 + 2)
    np.testing.assert_allclose(found.values.sum(axis=1), 3, atol=1e-6)
    chosen = FieldVectors(fields=["kind"])
    np.testing.assert_array_equal(chosen.feature(data, chosen.fit(data)).values[:2], np.eye(2))
    with pytest.raises(ConfigError, match=r"no fields \['years'\]; it has \['kind', 'other', 'year'\]"):
        FieldVectors(fields=["years"]).fit(data)
    with pytest.raises(ArtefactError, match=r"reads the field 'kind' as CategoryField.* has none of this name"):
        chosen.feature(dataset(), chosen.fit(data))
    with pytest.raises(ConfigError, match=r"num_knots is 1, .*expected at least 2, 1 and 1"):
        FieldVectors(num_knots=1)


def test_modalities_join_the_features_of_the_data_set(tagged):
    makers = {"tags": TagVectors(dim=4), "graph": GraphVectors(), "fields": FieldVectors()}
    states = fit_side(tagged, makers)
    assert list(states) == ["tags"]
    assert fit_side(tagged, makers, wanted=["graph"]) == {}
    own = Feature(np.ones((NUM_ITEMS, 2), np.float32), np.ones(NUM_ITEMS, np.bool_))
    data = replace(tagged, features={"audio": own})
    found = with_side(data, makers, states)
    assert list(found.features) == ["audio", "tags"] and found.features["audio"] is own
    assert list(data.features) == ["audio"], "the data set that was given stays as it was"
    with pytest.raises(
        ConfigError, match=r"side.tags: .* has a modality 'tags' of its own. Leave this one out with '~side.t"
    ):
        fit_side(found, makers)
    with pytest.raises(ArtefactError, match=r"the states \['tags'\] have no part in the configuration"):
        with_side(data, {}, states)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"tags": None}, r"holds no names 'tags'"),
        ({"idf": np.ones(3)}, r"'idf' in the state has the shape \(3,\); expected"),
        ({"projection": np.ones(3)}, r"'projection' in the state has the shape \(3,\); expected \(\d+, None\)"),
        ({"projection": ["a"]}, r"'projection' in the state has the shape None"),
    ],
)
def test_a_state_that_does_not_fit_is_refused(tagged, change, text):
    maker = TagVectors(dim=4)
    state = {**maker.fit(tagged), **change}
    with pytest.raises(ArtefactError, match=text):
        maker.feature(tagged, state)
