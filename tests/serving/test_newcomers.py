import json
from collections.abc import Iterator

import numpy as np
import pytest

from avrec.bundle.strangers import Stranger
from avrec.serving.served import Served
from avrec.serving.settings import ServerSettings
from tests.export.newcomer_world import CALM, LOUD, newcomer_world
from tests.export.world import World
from tests.serving.asking import Asker


@pytest.fixture(scope="module")
def tastes(tmp_path_factory: pytest.TempPathFactory) -> Served:
    return Served.open(newcomer_world(tmp_path_factory.mktemp("newcomers") / "bundle").folder)


@pytest.fixture
def newcomers(tastes: Served) -> Iterator[Asker]:
    with Asker(ServerSettings(tastes.bundle.folder), tastes) as asker:
        yield asker


def items(answer: dict) -> set[int]:
    return {int(one["item"].split()[1]) for one in answer["items"]}


@pytest.mark.parametrize(
    ("asked", "by", "taste"),
    [
        ({"interests": ["calm"]}, "interests", CALM),
        ({"interests": ["calm", "loud"], "interest_weights": [1, 5.5]}, "interests", LOUD),
        ({"interests": ["calm", "loud", "calm"], "interest_weights": [2, 3, 2]}, "interests", CALM),
        ({"friends": ["user 1", "user 4"]}, "friends", CALM),
        ({"fields": {"age": 61, "country": "SE"}}, "fields", LOUD),
        ({"user": "never seen", "interests": ["loud"]}, "interests", LOUD),
        ({"user": "user 20"}, "interests", CALM),
        ({"user": "user 21"}, "friends", LOUD),
        ({"user": "user 22"}, "fields", LOUD),
        ({"user": "user 21", "interests": ["calm"]}, "interests", CALM),
        ({"user": "user 3", "interests": ["loud"]}, "known user", CALM),
        ({"history": ["item 03"], "friends": ["user 12"]}, "history", CALM),
        ({"history": ["item 99"], "friends": ["user 12"]}, "friends", LOUD),
        ({"interests": ["of nobody"], "friends": ["user 23"], "fields": {"age": 20}}, "fields", CALM),
    ],
)
def test_a_newcomer_is_answered_by_the_first_thing_he_tells(
    newcomers: Asker, asked: dict, by: str, taste: range
) -> None:
    for mode in ("hybrid", "collaborative"):
        answer = newcomers.post("/recommend", asked | {"k": 4, "mode": mode}).json
        assert answer["answered_by"] == by and items(answer) < set(taste)


@pytest.mark.parametrize("asked", [{}, {"interests": []}, {"interests": ["jazz"]}, {"fields": {}}, {"user": "user 23"}])
def test_of_whom_nothing_is_known_gets_popular_items(newcomers: Asker, tastes: Served, asked: dict) -> None:
    answer = newcomers.post("/recommend", asked | {"k": 6, "explain": True}).json
    assert answer["answered_by"] == "popularity" and answer["degraded"] is None if "degraded" in answer else True
    scores = [one["score"] for one in answer["items"]]
    assert scores == sorted(tastes.bundle.evidence.tolist(), reverse=True)[:6]


def test_the_server_says_what_the_bundle_says(newcomers: Asker, tastes: Served) -> None:
    strangers = [
        Stranger(interests={"calm": 1.0}),
        Stranger(history=["item 12"], interests={"calm": 2.0, "loud": 1.0}),
        Stranger(friends=["user 3", "user 15"]),
        Stranger(fields={"country": "SE", "age": 20.0}),
        Stranger(),
    ]
    requests = [
        {
            "history": list(one.history), "interests": list(one.interests), "friends": list(one.friends), "fields": dict(one.fields),
            "interest_weights": list(dict(one.interests or {}).values()), "k": 8,
        }
        for one in strangers
    ]  # fmt: skip
    found = tastes.recommender.for_strangers(strangers, 8)
    answers = newcomers.post("/recommend/batch", {"requests": requests}).json["answers"]
    for answer, recommendation in zip(answers, found, strict=True):
        assert [one["item"] for one in answer["items"]] == list(recommendation.item_ids)
        assert [one["score"] for one in answer["items"]] == pytest.approx(list(recommendation.scores), rel=1e-5)
        assert answer["answered_by"] == recommendation.how
    assert answers[0]["items"] == newcomers.post("/recommend", requests[0]).json["items"]


def test_what_is_not_known_is_named(newcomers: Asker) -> None:
    asked = {
        "interests": ["calm", "jazz", "of nobody", "jazz"],
        "friends": ["user 1", "who?"],
        "fields": {"size": 3, "age": "old", "country": "NO"},
        "exclude": ["item 98"],
    }
    answer = newcomers.post("/recommend", asked).json
    assert answer["answered_by"] == "interests" and answer["unknown_items"] == ["item 98"]
    assert answer["unknown_interests"] == ["jazz", "of nobody"]
    assert answer["unknown_friends"] == ["who?"]
    assert answer["unknown_fields"] == ["size", "age"]
    assert "unknown_interests" not in newcomers.post("/recommend", {"user": "user 1"}).json


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"interests": "calm"}, "interests: Input should be a valid list"),
        ({"interests": [3]}, "interests.0: Input should be a valid string"),
        ({"interests": [""]}, "interests.0: String should have at least 1 character"),
        ({"interests": ["x" * 513]}, "interests.0: String should have at most 512 characters"),
        ({"interests": ["calm"] * 101}, "interests: List should have at most 100 items"),
        ({"interests": ["calm"], "interest_weights": []}, "interest_weights has 0 entries; interests has 1"),
        ({"interest_weights": [1.0]}, "interest_weights has 1 entries; interests has 0"),
        ({"interests": ["calm"], "interest_weights": [0]}, "interest_weights.0: Input should be greater than 0"),
        ({"interests": ["calm"], "interest_weights": [float("nan")]}, "interest_weights.0: Input should be"),
        ({"friends": ["user 1"] * 51}, "friends: List should have at most 50 items"),
        ({"friends": [None]}, "friends.0: Input should be a valid string"),
        ({"fields": ["age"]}, "fields: Input should be a valid dictionary"),
        ({"fields": {"age": [1]}}, "fields.age"),
        ({"fields": {"age": True}}, "fields.age"),
        ({"fields": {"age": None}}, "fields.age"),
        ({"fields": {"age": float("inf")}}, "fields.age"),
        ({"fields": {"age": "x" * 513}}, "fields.age"),
        ({"fields": {"": 1}}, "fields."),
        ({"fields": {str(one): 1 for one in range(33)}}, "fields: Dictionary should have at most 32 items"),
        ({"interest": ["calm"]}, "interest: Extra inputs are not permitted"),
    ],
)
def test_hostile_requests_are_refused_with_a_sentence(newcomers: Asker, asked: dict, message: str) -> None:
    reply = newcomers.post("/recommend", asked)
    assert reply.status == 422 and message in reply.json["error"]


@pytest.mark.parametrize(
    "body",
    [
        '{"fields": {"age": 1e400}}', '{"fields": {"age": ' + "9" * 400 + "}}", '{"fields": {"country": "\\ud800"}}',
        '{"interests": ["\\u0000", "calm"]}', '{"fields": {"__class__": "x", "age": -1e308}}', '{"friends": ["user 1\\n"]}',
        '{"interests": ["calm"], "interest_weights": [1e-300]}', '{"interests": ["calm"], "interest_weights": [1e6]}',
    ],
)  # fmt: skip
def test_odd_values_get_a_finite_answer_or_a_refusal(newcomers: Asker, body: str) -> None:
    reply = newcomers.post("/recommend", body=body.encode())
    assert reply.status in (200, 422)
    if reply.status == 200:
        answer = reply.json
        assert (
            all(np.isfinite(one["score"]) for one in answer["items"])
            and len(items(answer)) == len(answer["items"]) == 10
        )


def test_filters_and_seen_items_hold_for_newcomers(newcomers: Asker) -> None:
    asked = {"interests": ["calm"], "history": ["item 00"], "exclude": ["item 01"], "k": 26}
    assert not items(newcomers.post("/recommend", asked).json) & {0, 1}
    only = {"interests": ["calm"], "only": ["item 11", "item 02"], "k": 5}
    assert [one["item"] for one in newcomers.post("/recommend", only).json["items"]] == ["item 02", "item 11"]


def test_why_adds_up_for_newcomers(newcomers: Asker) -> None:
    answer = newcomers.post("/recommend", {"interests": ["calm"], "explain": True}).json
    for one in answer["items"]:
        why = one["why"]
        assert one["score"] == pytest.approx(why["taste"] + why["popularity"] + why["content"], abs=1e-5)


def test_interests_are_listed_with_counts(newcomers: Asker, tastes: Served) -> None:
    listed = newcomers.get("/interests").json
    assert [(one["name"], one["num_items"]) for one in listed["interests"]] == [("calm", 11), ("loud", 10)]
    assert [one["weight_in_users"] for one in listed["interests"]] == [10.0, 10.0]
    assert listed["total"] == 2 and listed["bundle"] == tastes.version


def test_fields_are_listed(newcomers: Asker) -> None:
    age, country = newcomers.get("/fields").json["fields"]
    assert age["name"] == "age" and age["takes_numbers"] and not country["takes_numbers"]
    assert [(one["low"], one["high"], one["num_users"]) for one in age["groups"]] == [
        (None, 60.0, 10),
        (60.0, None, 10),
    ]
    assert [(one["value"], one["num_users"]) for one in country["groups"]] == [("NO", 10), ("SE", 10)]


def test_interests_are_found_by_their_beginning(newcomers: Asker) -> None:
    found = newcomers.get("/interests?prefix=lo&limit=1").json
    assert [one["name"] for one in found["interests"]] == ["loud"] and found["total"] == 1
    first = newcomers.get("/interests?limit=1").json
    assert [one["name"] for one in first["interests"]] == ["calm"] and first["total"] == 2
    assert newcomers.get("/interests?limit=0").status == newcomers.get("/interests?limit=1001").status == 422


def test_a_profile_is_what_the_history_is_about(newcomers: Asker, tastes: Served) -> None:
    found = newcomers.get("/profile?user=user+12").json
    assert found["interests"] == [{"name": "loud", "share": 1.0}] and found["user"] == "user 12"
    assert newcomers.get("/profile?user=user+23").json["interests"] == []
    assert newcomers.get("/profile?user=who").status == 404 and newcomers.get("/profile?user=").status == 422
    assert tastes.bundle.newcomers.profile(np.array([0, 1, 11])) == pytest.approx({"calm": 2 / 3, "loud": 1 / 3})


def test_a_bundle_without_any_lists_nothing(asker: Asker) -> None:
    assert asker.get("/interests").json["interests"] == [] and asker.get("/fields").json["fields"] == []


def test_by_content_a_newcomer_needs_content(attention_world: World, asker: Asker) -> None:
    friends = {"friends": ["user 1", "user 2"], "mode": "content"}
    answer = asker.post("/recommend", friends).json
    assert answer["answered_by"] == "friends" and all(np.isfinite(one["score"]) for one in answer["items"])
    without = asker.post(
        "/recommend", {"history": ["item 4"], **friends}
    ).json  # an item without content says nothing here
    assert without["answered_by"] == "friends" and json.dumps(without["items"]) == json.dumps(answer["items"])
