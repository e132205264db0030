"""The real sets: their counts, and the baselines that the splits must reproduce."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from avrec.data.prepare import PrepareOptions, prepare
from avrec.data.prepared import load_dataset
from avrec.data.sources.lastfm import LastFmSource
from avrec.data.sources.movielens import MovieLensSource
from avrec.data.sources.tiktok import TikTokSource
from avrec.data.splits import GivenSplit, GlobalTimeSplit, RandomSplit, UserTimeSplit


@pytest.fixture(scope="module")
def load(shared_data, tmp_path_factory):
    sources = {
        "tiktok": TikTokSource(shared_data / "data" / "tiktok"),
        "movielens": MovieLensSource(shared_data / "data" / "ml-100k"),
        "lastfm": LastFmSource(shared_data / "data" / "lastfm-2k"),
    }

    def load(name, split):
        return load_dataset(prepare(sources[name], split, PrepareOptions(), tmp_path_factory.mktemp("real") / name))

    return load


def dense(part):
    matrix = np.zeros((part.num_users, part.num_items))
    matrix[part.user_idx, part.item_idx] = 1.0
    return matrix


def recall_and_ndcg(scores, train, test, k=20):
    """The plain definition, ties broken by index, train masked, over users with a test event."""
    scores = np.where(train > 0, -np.inf, scores)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    hits = np.take_along_axis(test, order, axis=1)
    wanted = test.sum(axis=1)
    discount = 1.0 / np.log2(np.arange(2, k + 2))
    ideal = np.cumsum(discount)[np.minimum(wanted, k).astype(int) - 1]
    users = wanted > 0
    return (hits.sum(axis=1) / np.maximum(wanted, 1))[users].mean(), ((hits @ discount) / ideal)[users].mean()


def test_tiktok(load):
    dataset = load("tiktok", GivenSplit())
    assert (dataset.num_users, dataset.num_items) == (9308, 6710)
    assert [len(part) for part in (dataset.train, dataset.validation, dataset.test)] == [59_541, 3_051, 6_130]
    assert dataset.cold_items.sum() == 465 and dataset.new_users.sum() == 10
    cold = dataset.cold_items
    assert cold[dataset.validation.item_idx].sum() == 223 and cold[dataset.test.item_idx].sum() == 449
    for feature in dataset.features.values():
        assert feature.values.shape == (6710, 128) and feature.present.all()
    assert sorted(dataset.features) == ["audio", "visual"] and dataset.train.timestamp is None


def test_movielens_each_users_last_part_reproduces_the_known_lines(load):
    dataset = load("movielens", UserTimeSplit(validation_share=0.0, test_share=0.2, ties="file"))
    assert (len(dataset.train), len(dataset.test), len(dataset.validation)) == (80_000, 20_000, 0)
    train, test = dense(dataset.train), dense(dataset.test)
    popularity = np.broadcast_to(train.sum(axis=0), train.shape)
    gram = train.T @ train + 200.0 * np.eye(train.shape[1])
    inverse = np.linalg.inv(gram)
    ease = -inverse / np.diag(inverse)
    np.fill_diagonal(ease, 0.0)
    np.testing.assert_allclose(recall_and_ndcg(popularity, train, test), (0.1058, 0.1235), atol=6e-4)
    np.testing.assert_allclose(recall_and_ndcg(train @ ease, train, test), (0.2111, 0.2222), atol=1e-4)


def test_movielens_cut_at_one_moment(load):
    dataset = load("movielens", GlobalTimeSplit(validation_share=0.0, test_share=0.2))
    assert (len(dataset.train), len(dataset.test)) == (80_003, 19_997)
    assert dataset.train.timestamp.max() == 889_237_269
    users = dataset.test.user_counts > 0
    assert (users.sum(), (users & dataset.new_users).sum(), dataset.cold_items.sum()) == (301, 192, 66)


def test_lastfm(load):
    dataset = load("lastfm", RandomSplit(validation_share=0.0, test_share=0.2))
    assert (dataset.num_users, dataset.num_items, len(dataset.social)) == (1_892, 17_632, 25_434)
    assert len(dataset.train) + len(dataset.test) == 92_834 and abs(len(dataset.test) / 92_834 - 0.2) < 0.001
    assert dataset.train.user_counts.min() >= 1
    assert dataset.item_table.column_names == ["item_idx", "item_id", "name"] and dataset.texts["name"].count(None) == 0


def test_lastfm_friends_and_tags(load):
    dataset = load("lastfm", RandomSplit(seed=0))
    social = dataset.social
    assert len(social) == 25_434 and (social.row_counts > 0).all() and (social.weight == 1).all()
    np.testing.assert_array_equal(social.transposed().column, social.column)  # the source is symmetric
    tags, interests = dataset.item_tags, dataset.user_interests
    assert tags.names is interests.names and tags.rows.num_columns == len(tags.names) > 8_000
    pop = tags.rows.taken(dataset.items.index(["289"]))
    assert tags.names.ids(pop.column[[pop.weight.argmax()]]) == ["pop"]
    assert tags.rows.weight.sum() == interests.rows.weight.sum()  # each statement counts once on either side


def test_lastfm_tags_know_nothing_of_what_is_held_out(load, shared_data):
    """Item tags, counted again by a loop over the statements that may be used."""
    dataset = load("lastfm", RandomSplit(seed=0))
    held = {
        pair
        for part in (dataset.validation, dataset.test)
        for pair in zip(dataset.users.ids(part.user_idx), dataset.items.ids(part.item_idx), strict=True)
    }
    known, counts, left_out = set(dataset.items.array.to_pylist()), {}, 0
    table = pq.read_table(shared_data / "data" / "lastfm-2k" / "tags.parquet", columns=["user_id", "item_id", "tag"])
    for user, item, tag in zip(*(column.to_pylist() for column in table.columns), strict=True):
        if (str(user), str(item)) in held:
            left_out += 1
        elif str(item) in known:
            counts[str(item), tag] = counts.get((str(item), tag), 0) + 1
    assert left_out > 20_000
    rows = dataset.item_tags.rows
    found = zip(dataset.items.ids(rows.row), dataset.item_tags.names.ids(rows.column), strict=True)
    assert dict(zip(found, rows.weight.tolist(), strict=True)) == counts


def test_movielens_side_information(load):
    dataset = load("movielens", UserTimeSplit())
    graph = dataset.knowledge
    assert (len(graph), len(graph.entities), len(graph.relations)) == (91_631, 34_628, 24)
    assert (graph.item_entity >= 0).sum() == 1_598 == len(np.unique(graph.item_entity)) - 1
    toy, nearest = dataset.items.index(["1", "588"])  # Toy Story, and Aladdin by the same studio
    neighbours = graph.neighbours()
    shared = neighbours.dense()[:, neighbours.taken(np.array([toy])).column].sum(axis=1)
    assert shared[nearest] > np.median(shared[shared > 0])
    assert list(dataset.texts) == ["title"] and dataset.texts["title"][toy] == "Toy Story"
    assert sorted(dataset.user_fields) == ["age", "gender", "occupation"] and list(dataset.item_fields) == ["year"]
    year = dataset.item_fields["year"]
    assert year.present.sum() == 1_680 and year.values[toy] == 1_995
    assert len(dataset.item_tags.names) == 19 and dataset.item_tags.rows.row_counts.min() == 1
