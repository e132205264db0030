import json

import numpy as np

from avrec.bundle.examples import ask
from avrec.bundle.reader import Bundle
from avrec.bundle.recommender import Recommender
from avrec.serving.messages import RecommendRequest
from tests.export.world import World


def test_examples_are_bodies_that_the_server_takes(world: World) -> None:
    requests = json.loads((world.folder / "examples" / "requests.json").read_text())
    responses = json.loads((world.folder / "examples" / "responses.json").read_text())
    assert [set(request) for request in requests] == [{"user", "k"}] * 3 + [{"history", "k"}] * 3
    bundle = Bundle.open(world.folder)
    for request, response in zip(requests, responses, strict=True):
        RecommendRequest.model_validate(request)
        items = [row["item"] for row in response["items"]]
        assert len(items) == len(set(items)) == 10 and set(items) <= set(bundle.items.ids(np.arange(30)))
        scores = [row["score"] for row in response["items"]]
        assert scores == sorted(scores, reverse=True)
        assert response["answered_by"] == ("known user" if "user" in request else "history")
        assert not set(items) & set(request.get("history", []))
        assert ask(Recommender(bundle), request) == response


def test_a_history_is_what_a_known_user_had_last(attention_world: World) -> None:
    requests = json.loads((attention_world.folder / "examples" / "requests.json").read_text())
    bundle = Bundle.open(attention_world.folder)
    known = [
        bundle.items.ids(bundle.history.item_idx[start:stop])
        for start, stop in zip(bundle.history.indptr[:-1], bundle.history.indptr[1:], strict=True)
    ]
    for request in requests[3:]:
        assert request["history"] in known and len(request["history"]) > 0
