"""Batches, time budgets and faults: an answer always comes, and says when it is not the model's."""

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from avrec.core.errors import AvrecError
from avrec.serving import batcher, desk
from avrec.serving.messages import RecommendRequest
from avrec.serving.questions import Question, question_of_user
from avrec.serving.ranking import Found
from avrec.serving.served import Served
from tests.serving.asking import Asker, Reply

HISTORY = ["item 3", "item 7"]


@dataclass
class Gate:
    """The thread that ranks waits here.

    Attributes:
        reached: set once it stands before the gate.
        opened: set to let it through, now and later.
        sizes: how many questions it took together each time.
    """

    reached: threading.Event = field(default_factory=threading.Event)
    opened: threading.Event = field(default_factory=threading.Event)
    sizes: list[int] = field(default_factory=list)

    async def all_at_once(self, asker: Asker, messages: list[dict[str, Any]]) -> list[Reply]:
        """The first message meets an idle thread; the others come while it is busy."""
        first = asyncio.create_task(asker.send("POST", "/recommend", messages[0]))
        while not self.reached.is_set():
            await asyncio.sleep(0)
        others = [asyncio.create_task(asker.send("POST", "/recommend", message)) for message in messages[1:]]
        while asker.desk.batcher.num_waiting < len(others):
            await asyncio.sleep(0)
        self.opened.set()
        return await asyncio.gather(first, *others)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate, rank = Gate(), batcher.rank

    def waiting(questions: list[Question]) -> list[Found]:
        gate.reached.set()
        gate.opened.wait(30)
        gate.sizes.append(len(questions))
        return rank(questions)

    monkeypatch.setattr(batcher, "rank", waiting)
    yield gate
    gate.opened.set()


def test_when_the_budget_is_over_popular_items_come_and_the_answer_says_so(asker: Asker, gate: Gate) -> None:
    popular = asker.post("/recommend", {"k": 5, "exclude": HISTORY, "budget_ms": 20}).json
    reply = asker.post("/recommend", {"history": HISTORY, "k": 5, "budget_ms": 20})
    assert reply.status == 200
    assert reply.json["degraded"] == "time" and reply.json["answered_by"] == "popularity"
    assert reply.json["items"] == popular["items"], "what was seen is hidden here too"
    gate.opened.set()
    later = asker.post("/recommend", {"history": HISTORY, "k": 5, "budget_ms": 60_000}).json
    assert later["degraded"] is None and later["answered_by"] == "history"
    text = asker.get("/metrics").body.decode()
    assert 'avrec_answers_total{answered_by="popularity",degraded="time",mode="hybrid"} 2.0' in text


def test_a_question_whose_time_was_over_before_it_was_asked_costs_no_ranking(asker: Asker, gate: Gate) -> None:
    gate.opened.set()
    assert asker.post("/recommend", {"history": HISTORY, "budget_ms": 1e-6}).json["degraded"] == "time"
    assert gate.sizes == []


def test_what_came_in_while_the_thread_was_busy_is_answered_together(asker: Asker, gate: Gate) -> None:
    messages = [{"history": HISTORY[: 1 + number % 2], "k": 1 + number} for number in range(9)]
    replies = asker.run(gate.all_at_once(asker, messages))
    assert gate.sizes == [1, 8]
    for message, reply in zip(messages, replies, strict=True):
        alone = asker.post("/recommend", message).json
        assert [item["item"] for item in reply.json["items"]] == [item["item"] for item in alone["items"]]


def test_too_many_waiting(asker: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk, "MAX_WAITING", 0)
    answer = asker.post("/recommend", {"history": HISTORY, "k": 3}).json
    assert answer["degraded"] == "load" and answer["answered_by"] == "popularity" and len(answer["items"]) == 3


def test_a_fault_of_the_model_touches_its_own_question_alone(
    asker: Asker, served: Served, gate: Gate, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    vectors = served.recommender.user_vectors

    def broken(query: Any) -> np.ndarray:
        if 9 in query.item_idx:
            raise AvrecError("the graph broke")
        return vectors(query)

    monkeypatch.setattr(served.recommender, "user_vectors", broken)
    messages = [{"history": [item]} for item in ("item 1", "item 3", "item 9", "item 2")]
    answers = [reply.json for reply in asker.run(gate.all_at_once(asker, messages))]
    assert [answer["degraded"] for answer in answers] == [None, None, "fault", None]
    assert [answer["answered_by"] for answer in answers] == ["history", "history", "popularity", "history"]
    assert "the graph broke" in caplog.text


def test_readiness_is_the_thread_being_alive(served: Served, asker: Asker) -> None:
    assert asker.get("/health/ready").json == {"status": "ready", "bundle": served.version}
    assert asker.get("/health/live").json["status"] == "live"
    asker.desk.batcher.stop()
    assert asker.get("/health/ready").status == 503
    assert asker.get("/health/ready").json["status"] == "not ready"


def test_stopping_answers_what_is_waiting(asker: Asker, served: Served, gate: Gate) -> None:
    async def stopping() -> Found:
        question = question_of_user(served, RecommendRequest(history=HISTORY, k=3))
        future = asker.desk.batcher.ask(question)
        threading.Timer(0.05, gate.opened.set).start()
        asker.desk.batcher.stop()
        return await future

    assert len(asker.run(stopping()).item_idx) == 3
