"""`Desk`: what all routes share: the bundle in force, the thread that ranks, and the way from a question to an answer."""

import asyncio
import time
from collections.abc import Iterable

from starlette.requests import HTTPConnection

from avrec.serving.batcher import Batcher
from avrec.serving.messages import Answer, Degraded, RankedItem
from avrec.serving.metrics import Metrics
from avrec.serving.player import Player
from avrec.serving.questions import Question
from avrec.serving.ranking import Found, popular
from avrec.serving.refusals import printable
from avrec.serving.served import Served
from avrec.serving.settings import ServerSettings

MAX_WAITING = 2048  # questions; at 10,000 items some hundred milliseconds of work


class Desk:
    """One for each app.

    Attributes:
        settings: of the server.
        served: the bundle in force. A request reads it once, so it is answered from one bundle whatever is swapped meanwhile.
        batcher: ranks.
        metrics: counts.
        player: of the items' files.
        swapping: held while another bundle is being opened.
        uploading: held by each upload while it is read and embedded.
    """

    def __init__(self, settings: ServerSettings, served: Served) -> None:
        self.settings = settings
        self.served = served
        self.batcher = Batcher()
        self.metrics = Metrics()
        self.player = Player(settings.media_root, settings.api_key)
        self.swapping = asyncio.Lock()
        self.uploading = asyncio.Semaphore(settings.max_uploads)

    @classmethod
    def at(cls, connection: HTTPConnection) -> "Desk":
        """The desk of the app that a request came to."""
        desk = connection.app.state.desk
        assert isinstance(desk, Desk)
        return desk

    async def answer(self, question: Question, budget_ms: float | None, arrived: float) -> Answer:
        """Ask the model, or give popular items when it cannot answer in time.

        Args:
            question: what is asked.
            budget_ms: time for the answer from `arrived` on; the server's setting when None.
            arrived: `time.monotonic()` when the request came.
        """
        budget_sec = (self.settings.budget_ms if budget_ms is None else budget_ms) / 1000
        found, degraded = await self._found(question, arrived + budget_sec - time.monotonic())
        answer = _message(question, found, degraded)
        self.metrics.answer(answer)
        return answer

    async def _found(self, question: Question, remaining_sec: float) -> tuple[Found, Degraded | None]:
        if self.batcher.num_waiting >= MAX_WAITING:
            return popular(question), "load"
        if remaining_sec <= 0:
            return popular(question), "time"
        try:
            async with asyncio.timeout(remaining_sec):
                return await self.batcher.ask(question), None
        except TimeoutError:
            return popular(question), "time"
        except Exception:  # the thread has logged it
            return popular(question), "fault"


def _message(question: Question, found: Found, degraded: Degraded | None) -> Answer:
    answer = Answer(
        items=list(_ranked(question.served, found)),
        answered_by=found.by,
        degraded=degraded,
        mode=question.mode,
        unknown_items=[printable(item_id) for item_id in question.unknown],
        bundle=question.served.version,
    )
    if question.way is not None:
        answer.by = question.way
    if question.understood is not None:
        answer.unknown_interests = [printable(tag) for tag in question.understood.unknown_interests]
        answer.unknown_friends = [printable(friend) for friend in question.understood.unknown_friends]
        answer.unknown_fields = [printable(name) for name in question.understood.unknown_fields]
    return answer


def _ranked(served: Served, found: Found) -> Iterable[RankedItem]:
    ranked = zip(found.item_idx.tolist(), found.scores.tolist(), strict=True)
    if found.parts is None:
        for index, score in ranked:
            yield RankedItem.model_construct(item=served.item_ids[index], score=score)
        return
    for (index, score), why in zip(ranked, found.parts.told(served.bundle.manifest.modalities), strict=True):
        yield RankedItem.model_construct(item=served.item_ids[index], score=score, why=why)
