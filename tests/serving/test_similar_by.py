"""More like this by sound, by picture, by taste and by when people use it: as the bundle answers without a server."""

import asyncio

import pytest

from avrec.serving.served import Served
from tests.serving.asking import Asker


@pytest.mark.parametrize("by", ["content", "taste", "time", "sound", "picture", "video"])
def test_a_way_is_that_of_the_recommender(asker: Asker, served: Served, by: str) -> None:
    answer = asker.post("/similar", {"item": "item 5", "by": by, "k": 7, "exclude": ["item 9"]}).json
    expected = served.recommender.similar("item 5", 8, by)
    wanted = [item for item in expected.item_ids if item != "item 9"][:7]
    assert [item["item"] for item in answer["items"]] == wanted
    scores = dict(zip(expected.item_ids, expected.scores, strict=True))
    assert [item["score"] for item in answer["items"]] == pytest.approx([scores[item] for item in wanted], abs=1e-6)
    assert (answer["by"], answer["answered_by"]) == (by, "item")


def test_without_by_the_answer_does_not_speak_of_it(asker: Asker) -> None:
    assert "by" not in asker.post("/similar", {"item": "item 5"}).json


def test_ways_do_not_mix(asker: Asker, served: Served) -> None:
    """Questions that wait together are ranked together only where they ask in the same way."""
    ways = ["taste", "sound", None, "time", "sound"]

    async def together():
        messages = [{"item": "item 5", "k": 3} | ({"by": way} if way else {}) for way in ways]
        return await asyncio.gather(*(asker.send("POST", "/similar", message) for message in messages))

    for way, reply in zip(ways, asker.run(together()), strict=True):
        if way is not None:
            expected = served.recommender.similar("item 5", 3, way).item_ids
            assert [item["item"] for item in reply.json["items"]] == list(expected)


@pytest.mark.parametrize(
    ("message", "status", "text"),
    [
        (
            {"item": "item 5", "by": "smell"},
            422,
            "by: this bundle cannot answer by 'smell'; use one of ('content', 'taste'",
        ),
        ({"item": "item 4", "by": "sound"}, 422, "by: item 'item 4' has no sound; ask in another way."),
        ({"item": "item 27", "by": "taste"}, 422, "by: item 'item 27' has no training events; ask in another way."),
        ({"item": "nobody", "by": "sound"}, 404, "item 'nobody' is not in this bundle"),
        (
            {"item": "item 5", "by": "sound", "explain": True},
            422,
            "explain takes the score of a mode apart; leave out by",
        ),
        ({"item": "item 5", "by": ""}, 422, "by"),
        ({"item": "item 5", "by": 3}, 422, "by"),
    ],
)
def test_refusals(asker: Asker, message: dict, status: int, text: str) -> None:
    reply = asker.post("/similar", message)
    assert reply.status == status and text in reply.json["error"]
