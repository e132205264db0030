"""The oracle: the truth in the data set's order, and a ceiling far above popularity on the sample catalogue."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from avrec.baselines.oracle import Oracle
from avrec.baselines.popularity import Popularity
from avrec.core.dataset import Dataset
from avrec.core.errors import ArtefactError, ConfigError
from avrec.core.files import write_json, write_npy
from avrec.core.ids import IdMap
from avrec.core.interactions import Interactions
from avrec.core.query import Scorer, UserQuery
from avrec.evaluation.evaluate import evaluate
from avrec.media.sample.catalogue import Catalogue
from avrec.media.sample.truth import write_truth
from avrec.media.sample.users import Audience


def known_truth(folder):
    """Utility 10 * user + item, for users u0..u2 and items i0..i3."""
    utilities = np.add.outer(10 * np.arange(3), np.arange(4)).astype(np.float32)
    write_npy(folder / "truth" / "utilities.npy", utilities)
    ids = {"user_ids": ["u0", "u1", "u2"], "item_ids": ["i0", "i1", "i2", "i3"]}
    write_json(folder / "truth" / "truth.json", {"format_version": 1, **ids})
    return folder


def small(users, items):
    one = Interactions.from_events(np.array([0]), np.array([0]), len(users), len(items))
    none = one.select(np.zeros(1, np.bool_))
    return Dataset("small", "hash", IdMap(users), IdMap(items), one, none, none)


def test_scores_are_the_truth_in_the_order_of_the_data_set(tmp_path):
    dataset = small(["u2", "u0"], ["i3", "i1", "i0"])
    scorer = Oracle(known_truth(tmp_path)).fit(dataset)
    assert isinstance(scorer, Scorer)
    scores = scorer.score(UserQuery.of_users(np.array([1, 0]), dataset.train))
    assert scores.tolist() == [[3, 1, 0], [23, 21, 20]] and scores.dtype == np.float32


def test_a_stranger_gets_the_mean_over_users(tmp_path):
    dataset = small(["u2", "u0"], ["i3", "i1", "i0"])
    query = UserQuery(np.array([-1, 0]), np.zeros(3, np.int64), np.zeros(0, np.int64), np.zeros(0), np.zeros(0))
    scores = Oracle(known_truth(tmp_path)).fit(dataset).score(query)
    assert scores.tolist() == [[13, 11, 10], [23, 21, 20]]


def test_other_data_is_refused(tmp_path):
    known_truth(tmp_path)
    with pytest.raises(ConfigError, match="oracle: 1 of 2 users, the first is 'x', are not in the truth"):
        Oracle(tmp_path).fit(small(["u0", "x"], ["i0"]))
    with pytest.raises(ConfigError, match="oracle: 2 of 3 items, the first is 'y', are not in the truth"):
        Oracle(tmp_path).fit(small(["u0"], ["i0", "y", "z"]))
    with pytest.raises(ArtefactError, match="Only the sample catalogue has a truth"):
        Oracle(tmp_path / "elsewhere").fit(small(["u0"], ["i0"]))


def test_the_truth_is_looked_for_beside_the_media(tmp_path):
    dataset = small(["u2"], ["i3", "i1"])
    beside = Oracle().fit(replace(dataset, media_root=str(known_truth(tmp_path))))
    assert beside.utilities.tolist() == [[23, 21]]
    with pytest.raises(ConfigError, match="oracle: the data set 'small' has no media, hence no truth beside them"):
        Oracle().fit(dataset)


@pytest.mark.parametrize("seed", [7, 1])
def test_on_the_sample_the_oracle_is_far_above_popularity(seed, tmp_path):
    audience = Audience(Catalogue(seed, 320), 600)
    write_truth(audience, tmp_path)
    dataset = split_by_time(audience)
    oracle = evaluate(Oracle(tmp_path).fit(dataset), dataset, "test", (10,)).metrics
    popularity = evaluate(Popularity().fit(dataset), dataset, "test", (10,)).metrics
    assert oracle["recall@10"] > 0.4 and oracle["cold/recall@10"] > 0.5
    assert popularity["recall@10"] < 0.06 and popularity["cold/recall@10"] == 0.0


def split_by_time(audience):
    """Views alone; the last tenth is test, the tenth before it validation."""
    log = audience.log
    views = np.flatnonzero(log.event == 0)
    views = views[np.argsort(log.time_sec[views], kind="stable")]
    cuts = [0, len(views) * 8 // 10, len(views) * 9 // 10, len(views)]
    parts = [
        Interactions.from_events(log.user[rows], log.item[rows], audience.num_users, audience.catalogue.num_items)
        for rows in (views[first:last] for first, last in pairwise(cuts))
    ]
    return Dataset("sample", "hash", IdMap(audience.user_ids), IdMap(audience.catalogue.item_ids), *parts)
