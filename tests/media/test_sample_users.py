"""The users of the sample catalogue: fixed by a hash, honest in time, and as the issue describes them."""

import re

import numpy as np
import pytest

from avrec.core.errors import ArtefactError, ConfigError
from avrec.core.files import read_json, write_json, write_npy
from avrec.media.sample.catalogue import Catalogue
from avrec.media.sample.fingerprint import digest
from avrec.media.sample.pictures import PICTURES
from avrec.media.sample.sounds import SOUNDS
from avrec.media.sample.truth import read_truth, write_truth
from avrec.media.sample.users import EVENTS, FOLLOWS, TOPICS, Audience

CATALOGUE = Catalogue(7, 320)
AUDIENCE = Audience(CATALOGUE, 600)
VIEWS = AUDIENCE.log.event == 0


def test_the_generator_is_fixed():
    """Models are tuned on this catalogue, so it must not be tuned to models: another hash is another benchmark."""
    assert digest(7, 320, 600) == "8bce05ca53f142eb11131c92d3e423567077b2f8fb0dff7e0c20536d2d887c19"


def test_the_hash_sees_seed_items_and_users():
    hashes = {digest(*arguments) for arguments in ((1, 1, 3), (2, 1, 3), (1, 2, 3), (1, 1, 4))}
    assert len(hashes) == 4


def test_the_log_has_the_promised_size_and_order():
    log = AUDIENCE.log
    views = log.user[VIEWS], log.item[VIEWS]
    assert 22_000 < VIEWS.sum() < 27_000
    assert len(np.unique(np.stack(views), axis=1).T) == VIEWS.sum()  # nobody views an item twice
    assert (log.time_sec >= AUDIENCE.release_sec[log.item]).all()
    counts = np.bincount(log.event)
    assert counts[0] > counts[1] > counts[2] > 2_000 and len(counts) == len(EVENTS)
    per_user = np.bincount(views[0], minlength=600)
    assert per_user.min() >= 1 and per_user.max() < 160


def test_a_like_or_share_follows_its_view_and_what_is_liked():
    log, liking = AUDIENCE.log, AUDIENCE.liking
    viewed_sec = np.zeros(liking.shape, np.int64)
    viewed_sec[log.user[VIEWS], log.item[VIEWS]] = log.time_sec[VIEWS]
    delay = log.time_sec[~VIEWS] - viewed_sec[log.user[~VIEWS], log.item[~VIEWS]]
    assert (delay >= 60).all() and (delay < 1200).all()
    viewed = liking[log.user[VIEWS], log.item[VIEWS]]
    for code, indifferent in ((1, 0.06), (2, 0.02)):
        reacted = liking[log.user[log.event == code], log.item[log.event == code]]
        assert (reacted == 0).sum() / (viewed == 0).sum() < indifferent
        assert (reacted == 1).sum() / (viewed == 1).sum() > 7 * indifferent
    assert 0.15 < (viewed == 0).mean() < 0.2


def test_ears_hear_eyes_see_and_some_need_both():
    liked = AUDIENCE.liking > 0
    for name, classes, present in (
        ("ears", CATALOGUE.sound_class, CATALOGUE.has_sound),
        ("eyes", CATALOGUE.picture_class, CATALOGUE.has_picture),
    ):
        for user in np.flatnonzero(AUDIENCE.follows == FOLLOWS.index(name))[:20]:
            chosen = np.unique(classes[liked[user]])
            assert len(chosen) == 2
            assert np.array_equal(liked[user], np.isin(classes, chosen) & present)
            first = AUDIENCE.liking[user] == 1.0
            assert len(np.unique(classes[first])) == 1
    for user in np.flatnonzero(AUDIENCE.follows == FOLLOWS.index("both"))[:20]:
        heard, seen = CATALOGUE.sound_class[liked[user]], CATALOGUE.picture_class[liked[user]]
        assert len(np.unique(heard)) <= 3 and len(np.unique(seen)) <= 3
        expected = np.isin(CATALOGUE.sound_class, heard) & np.isin(CATALOGUE.picture_class, seen)
        assert np.array_equal(liked[user], expected & CATALOGUE.has_sound & CATALOGUE.has_picture)
    assert np.bincount(AUDIENCE.follows).tolist() == [200, 200, 200]


def test_utility_orders_first_choice_second_choice_and_the_rest():
    utility, liking = AUDIENCE.utility, AUDIENCE.liking
    assert set(np.unique(liking)) == {0.0, 0.6, 1.0}
    mean = [utility[liking == value].mean() for value in (0.0, 0.6, 1.0)]
    assert mean[1] - mean[0] == pytest.approx(1.8, abs=0.1) and mean[2] - mean[1] == pytest.approx(1.2, abs=0.1)
    assert len(np.unique(utility[0])) == 320  # no ties, so the oracle's rank is certain


def test_friends_have_similar_taste_in_both_directions():
    friends = AUDIENCE.friends
    pairs = set(map(tuple, friends.tolist()))
    assert len(pairs) == len(friends) and all(first != second for first, second in pairs)
    assert {(second, first) for first, second in pairs} == pairs
    assert 4 <= np.bincount(friends[:, 0], minlength=600).min()
    likeness = np.corrcoef(AUDIENCE.liking)
    assert likeness[friends[:, 0], friends[:, 1]].mean() > likeness.mean() + 0.4


def test_tags_hardly_tell_the_sound():
    assert all(1 <= len(tags) <= 2 and set(tags) <= set(TOPICS) for tags in AUDIENCE.tags)
    first = np.array([TOPICS.index(tags[0]) for tags in AUDIENCE.tags])
    agreeing = (first == CATALOGUE.sound_class).mean()
    assert 1 / len(TOPICS) + 0.05 < agreeing < 0.4
    picture = (first == CATALOGUE.picture_class).mean()
    assert picture < 0.2


def test_items_come_out_over_the_whole_period():
    day = (AUDIENCE.release_sec - AUDIENCE.release_sec.min()) / 86_400
    assert 0.25 < (day == 0).mean() < 0.4
    late = (day[:, None] >= np.arange(0, 180, 30)) & (day[:, None] < np.arange(30, 210, 30))
    assert late.sum(axis=0).min() >= 15


def test_nothing_of_the_catalogue_depends_on_the_users():
    fewer = Audience(CATALOGUE, 30)
    assert np.array_equal(fewer.release_sec, AUDIENCE.release_sec) and fewer.tags == AUDIENCE.tags


@pytest.mark.parametrize(("num_items", "num_users"), [(1, 1), (2, 1), (1, 3), (9, 2)])
def test_the_smallest_worlds_hold(num_items, num_users):
    audience = Audience(Catalogue(0, num_items), num_users)
    assert audience.utility.shape == (num_users, num_items)
    assert len(audience.log.user) >= 0 and audience.friends.shape[1] == 2


def test_the_number_of_users_is_checked():
    with pytest.raises(ConfigError, match="num_users is 0; expected 1 to 100000"):
        Audience(CATALOGUE, 0)


@pytest.fixture
def truth_folder(tmp_path):
    write_truth(Audience(Catalogue(1, 16), 4), tmp_path)
    return tmp_path


def test_the_truth_comes_back(truth_folder):
    audience = Audience(Catalogue(1, 16), 4)
    truth = read_truth(truth_folder)
    assert (truth.user_ids, truth.item_ids) == (audience.user_ids, audience.catalogue.item_ids)
    assert np.array_equal(truth.utilities, audience.utility.astype(np.float32))
    table = read_json(truth_folder / "truth" / "truth.json")
    assert [list(SOUNDS).index(name) for name in table["sounds"]] == audience.catalogue.sound_class.tolist()
    assert [list(PICTURES).index(name) for name in table["pictures"]] == audience.catalogue.picture_class.tolist()
    assert table["follows"] == ["ears", "eyes", "both", "ears"]


def test_a_folder_without_a_truth_is_named(tmp_path):
    with pytest.raises(ArtefactError, match="Only the sample catalogue has a truth: give its folder"):
        read_truth(tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda table: table.pop("user_ids"), "user_ids is no list of distinct ids"),
        (lambda table: table["item_ids"].append(table["item_ids"][0]), "item_ids is no list of distinct ids"),
        (lambda table: table["item_ids"].append("x"), r"float32 (4, 16); expected float32 for 4 users and 17 items"),
        (lambda table: table.update(format_version=2), "format version 2; this avrec reads version 1"),
    ],
)
def test_a_damaged_truth_is_named(truth_folder, change, words):
    place = truth_folder / "truth" / "truth.json"
    table = read_json(place)
    change(table)
    write_json(place, table)
    with pytest.raises(ArtefactError, match=re.escape(words)):
        read_truth(truth_folder)


def test_utilities_of_another_type_are_refused(truth_folder):
    write_npy(truth_folder / "truth" / "utilities.npy", np.zeros((4, 16)))
    with pytest.raises(ArtefactError, match=re.escape("float64 (4, 16); expected float32")):
        read_truth(truth_folder)
