"""Lists against naive references: the recommender itself, sorted scores, cosines written out."""

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from avrec.core.query import UserQuery
from avrec.serving.served import Served
from avrec.serving.settings import ServerSettings
from tests.export.world import ID_DIM, NUM_ITEMS, World
from tests.serving.asking import Asker

HISTORY = ["item 3", "item 7", "item 11", "item 2"]
NO_EVENTS = "user 19"


def ids(answer: Any) -> list[str]:
    return [item["item"] for item in answer["items"]]


def scores(answer: Any) -> list[float]:
    return [item["score"] for item in answer["items"]]


def expect(answer: Any, scores_N: np.ndarray, k: int, hidden: list[str], held: np.ndarray | None = None) -> None:
    """The list is the sorted scores of all items that are not hidden and that the space holds."""
    names = [f"item {item}" for item in np.argsort(-scores_N, kind="stable") if held is None or held[item]]
    wanted = [name for name in names if name not in hidden][:k]
    assert ids(answer) == wanted
    np.testing.assert_allclose(scores(answer), [scores_N[int(name[5:])] for name in wanted], rtol=1e-4, atol=1e-5)


def query(served: Served, history: list[str], weights: list[float], ages: list[float], user: int = -1) -> UserQuery:
    item_idx = np.array([int(name[5:]) for name in history], np.int64)
    as_floats = (np.array(values, np.float32) for values in (weights, ages))
    return UserQuery(np.array([user]), np.array([0, len(history)]), item_idx, *as_floats)


def test_a_known_user_gets_what_the_recommender_says(asker: Asker, served: Served) -> None:
    reply = asker.post("/recommend", {"user": "user 3", "k": 7})
    [expected] = served.recommender.for_users(["user 3"], 7)
    assert reply.status == 200 and ids(reply.json) == list(expected.item_ids)
    np.testing.assert_allclose(scores(reply.json), expected.scores, rtol=1e-5)
    assert reply.json["answered_by"] == "known user" and reply.json["degraded"] is None
    assert reply.json["bundle"] == served.version and reply.json["unknown_items"] == []


def test_a_history_is_taken_with_its_weights_and_ages(asker: Asker, served: Served) -> None:
    weights, ages = [1.0, 2.5, 0.5, 3.0], [40.0, 20.0, 3.0, 0.0]
    message = {"history": [*HISTORY[:2], "nobody knows", *HISTORY[2:]], "k": 6}
    message |= {"weights": [*weights[:2], 9.0, *weights[2:]], "ages_days": [*ages[:2], 9.0, *ages[2:]]}
    answer = asker.post("/recommend", message).json
    expect(answer, served.recommender.score(query(served, HISTORY, weights, ages))[0], 6, HISTORY)
    assert answer["answered_by"] == "history" and answer["unknown_items"] == ["nobody knows"]
    plain = asker.post("/recommend", {"history": HISTORY, "k": 6}).json
    expect(plain, served.recommender.score(query(served, HISTORY, [1.0] * 4, [0.0] * 4))[0], 6, HISTORY)
    assert scores(plain) != scores(answer)


def test_a_known_user_with_a_history_of_today(asker: Asker, served: Served) -> None:
    answer = asker.post("/recommend", {"user": "user 3", "history": HISTORY, "k": 6}).json
    expect(answer, served.recommender.score(query(served, HISTORY, [1.0] * 4, [0.0] * 4, user=3))[0], 6, HISTORY)
    assert answer["answered_by"] == "history"
    alone = asker.post("/recommend", {"user": "user 3", "history": [], "k": 6}).json
    expect(alone, served.recommender.score(query(served, [], [], [], user=3))[0], 6, [])
    assert alone["answered_by"] == "known user"


def test_content_and_collaborative_use_their_segment_alone(asker: Asker, served: Served) -> None:
    bundle = served.bundle
    [vector] = served.recommender.user_vectors(query(served, HISTORY, [1.0] * 4, [0.0] * 4))
    content = bundle.content_vectors @ vector[ID_DIM + 1 :]
    answer = asker.post("/recommend", {"history": HISTORY, "k": 30, "mode": "content"}).json
    expect(answer, content, 30, HISTORY, held=bundle.content_vectors.any(axis=1))
    assert not {"item 4", "item 29"} & set(ids(answer)), "items without content have no place by content"
    taste = bundle.id_vectors @ vector[:ID_DIM] + bundle.item_vectors[:, ID_DIM]
    answer = asker.post("/recommend", {"history": HISTORY, "k": 30, "mode": "collaborative"}).json
    expect(answer, taste, 30, HISTORY, held=bundle.evidence > 0)
    assert len(answer["items"]) == (bundle.evidence > 0).sum() - len(HISTORY)


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"user": "a stranger"},
        {"history": []},
        {"history": ["a", "b"]},
        {"history": ["item 4"], "mode": "content"},  # it has neither sound nor picture
        {"user": NO_EVENTS, "mode": "content"},
        {"user": "user 3", "history": [], "mode": "content"},  # what is known of him says nothing about content
    ],
)
def test_whom_the_model_does_not_know_gets_what_is_popular_and_is_told(
    asker: Asker, served: Served, message: dict[str, Any]
) -> None:
    answer = asker.post("/recommend", message | {"k": 12, "exclude_seen": False}).json
    assert answer["answered_by"] == "popularity" and answer["degraded"] is None
    evidence = served.bundle.evidence
    found = [int(name[5:]) for name in ids(answer)]
    assert scores(answer) == sorted(evidence.tolist(), reverse=True)[:12]
    assert scores(answer) == evidence[found].tolist() and len(set(found)) == 12
    again = asker.post("/recommend", {"k": 12, "exclude": ids(answer)[:3], "only": ids(answer)[1:6]}).json
    assert ids(again) == ids(answer)[3:6]


def test_filters(asker: Asker) -> None:
    every = asker.post("/recommend", {"history": HISTORY, "k": 1000}).json
    assert len(every["items"]) == NUM_ITEMS - len(HISTORY)
    seen = asker.post("/recommend", {"history": HISTORY, "k": 1000, "exclude_seen": False}).json
    assert len(seen["items"]) == NUM_ITEMS
    some = ids(every)[::3]
    without = asker.post("/recommend", {"history": HISTORY, "k": 1000, "exclude": [*some, "who"]}).json
    assert ids(without) == [name for name in ids(every) if name not in some] and without["unknown_items"] == ["who"]
    only = asker.post("/recommend", {"history": HISTORY, "k": 3, "only": [*some, *some, HISTORY[0], "who"]}).json
    assert ids(only) == some[:3], "what was seen stays hidden, whatever `only` says"
    nothing = asker.post("/recommend", {"history": HISTORY, "only": []}).json
    assert nothing["items"] == [] and nothing["answered_by"] == "history"


def test_a_batch_answers_each_as_if_it_came_alone(asker: Asker) -> None:
    requests = [
        {"user": f"user {user}", "k": 1 + user, "mode": mode, "exclude": [f"item {user}"], **more}
        for user in range(6)
        for mode in ("hybrid", "content", "collaborative")
        for more in ({}, {"only": ["item 1", "item 5", "item 9"]}, {"history": HISTORY[: user % 5]})
    ]
    reply = asker.post("/recommend/batch", {"requests": requests})
    assert reply.status == 200 and len(reply.json["answers"]) == len(requests)
    for request, answer in zip(requests, reply.json["answers"], strict=True):
        alone = asker.post("/recommend", request).json
        assert (ids(answer), answer["answered_by"]) == (ids(alone), alone["answered_by"]), request
        np.testing.assert_allclose(scores(answer), scores(alone), rtol=1e-4, atol=1e-5)


def cosine(rows: np.ndarray, item: int) -> np.ndarray:
    length = np.linalg.norm(rows, axis=1)
    return rows @ rows[item] / np.maximum(length * length[item], 1e-30)


@pytest.mark.parametrize("mode", ["hybrid", "content", "collaborative"])
def test_more_like_this(asker: Asker, served: Served, mode: str) -> None:
    bundle, item = served.bundle, 6
    content, taste = cosine(bundle.content_vectors, item), cosine(bundle.id_vectors, item)
    lent = cosine(bundle.history_vectors[:, :ID_DIM], item)
    wanted = {"hybrid": (content + lent) / 2, "content": content, "collaborative": taste}[mode]
    has_content = bundle.content_vectors.any(axis=1)
    has_id = bundle.history_vectors[:, :ID_DIM].any(axis=1)
    held = {"hybrid": has_id | has_content, "content": has_content, "collaborative": bundle.evidence > 0}[mode]
    answer = asker.post("/similar", {"item": f"item {item}", "mode": mode, "k": 40, "exclude": ["item 9"]}).json
    expect(answer, wanted, 40, [f"item {item}", "item 9"], held)
    assert answer["answered_by"] == "item"


def test_more_like_what_cannot_be_known(asker: Asker, served: Served) -> None:
    cold = int(np.flatnonzero(served.bundle.evidence == 0)[0])
    assert asker.post("/similar", {"item": "nobody knows"}).json == {
        "error": "item 'nobody knows' is not in this bundle. Upload it, or name one of the catalogue."
    }
    reply = asker.post("/similar", {"item": f"item {cold}", "mode": "collaborative"})
    assert reply.status == 422
    assert reply.json["error"] == f"mode: item 'item {cold}' has no training events; ask in another mode."
    assert "item 4' has no content" in asker.post("/similar", {"item": "item 4", "mode": "content"}).json["error"]


def test_a_bundle_of_ids_alone_has_no_content_mode(ids_world: World) -> None:
    served = Served.open(ids_world.folder)
    with Asker(ServerSettings(ids_world.folder), served) as asker:
        reply = asker.post("/recommend", {"user": "user 1", "mode": "content"})
        assert reply.status == 422 and "trained on ids alone" in reply.json["error"]
        batch = asker.post("/recommend/batch", {"requests": [{}, {"mode": "content"}]})
        assert batch.status == 422 and batch.json["error"].startswith("requests.1.mode: this bundle")
        [expected] = served.recommender.for_users(["user 1"], 5)
        assert ids(asker.post("/recommend", {"user": "user 1", "k": 5}).json) == list(expected.item_ids)
        assert asker.post("/similar", {"item": "item 1"}).status == 200
        assert "takes no media files" in asker.post("/upload", {}).json["error"]


ITEM = st.one_of(st.sampled_from([f"item {item}" for item in range(NUM_ITEMS)]), st.text(min_size=1, max_size=8))
REQUEST = st.fixed_dictionaries(
    {"k": st.integers(1, 40), "mode": st.sampled_from(["hybrid", "content", "collaborative"])},
    optional={
        "user": st.one_of(st.sampled_from([f"user {user}" for user in range(20)]), st.text(min_size=1, max_size=8)),
        "history": st.lists(ITEM, max_size=12),
        "exclude": st.lists(ITEM, max_size=12),
        "only": st.lists(ITEM, max_size=30),
    },
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(REQUEST, st.floats(0.001, 1e6), st.floats(0, 1e5))
def test_answers_are_finite_without_repetition_and_hold_nothing_hidden(
    asker: Asker, message: dict[str, Any], weight: float, age: float
) -> None:
    history = message.get("history", [])
    if history:
        message = message | {"weights": [weight] * len(history), "ages_days": [age] * len(history)}
    reply = asker.post("/recommend", message)
    assert reply.status == 200, reply.body
    found = ids(reply.json)
    assert len(found) == len(set(found)) <= message["k"]
    assert not set(found) & {*history, *message.get("exclude", [])}
    assert "only" not in message or set(found) <= set(message["only"])
    assert np.isfinite(scores(reply.json)).all() and scores(reply.json) == sorted(scores(reply.json), reverse=True)
    assert reply.json["degraded"] is None
