"""`Batcher`: one thread that answers all questions which came in while it was busy, together.

Nothing waits for company: a question that finds the thread idle is answered alone. Under load batches form by themselves, and
a matrix product over 16 users costs a quarter of 16 products over one (10,000 items, one core).
"""

import asyncio
import logging
import queue
import threading
from collections.abc import Iterable

from avrec.serving.questions import Question
from avrec.serving.ranking import Found, group_key, rank

MAX_TOGETHER = 64
LOG = logging.getLogger(__name__)
_Task = tuple[Question, "asyncio.Future[Found]"]


class Batcher:
    """Start it inside the event loop whose requests it answers."""

    def __init__(self) -> None:
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="ranking", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Answer what is waiting, then end."""
        self._tasks.put(None)
        self._thread.join()

    @property
    def alive(self) -> bool:
        """Whether questions will be answered."""
        return self._thread.is_alive()

    @property
    def num_waiting(self) -> int:
        """Questions that nobody has looked at yet."""
        return self._tasks.qsize()

    def ask(self, question: Question) -> "asyncio.Future[Found]":
        """The answer to come; cancelling it takes the question back."""
        future: asyncio.Future[Found] = asyncio.get_running_loop().create_future()
        self._tasks.put((question, future))
        return future

    def _work(self) -> None:
        running = True
        while running:
            tasks = [self._tasks.get()]
            while len(tasks) < MAX_TOGETHER and not self._tasks.empty():
                tasks.append(self._tasks.get())
            running = None not in tasks
            _answer([task for task in tasks if task is not None and not task[1].cancelled()])


def _answer(tasks: list[_Task]) -> None:
    for group in _groups(tasks):
        try:
            answers: list[Found | Exception] = [*rank([question for question, _ in group])]
        except Exception as error:
            if len(group) > 1:  # what one question breaks does not touch the others
                for task in group:
                    _answer([task])
                continue
            LOG.exception("a question could not be answered")
            answers = [error]
        loop = group[0][1].get_loop()
        loop.call_soon_threadsafe(_deliver, [future for _, future in group], answers)


def _groups(tasks: list[_Task]) -> Iterable[list[_Task]]:
    """In the order in which the first of each came."""
    groups: dict[tuple[object, ...], list[_Task]] = {}
    for task in tasks:
        groups.setdefault(group_key(task[0]), []).append(task)
    return groups.values()


def _deliver(futures: list["asyncio.Future[Found]"], answers: list[Found | Exception]) -> None:
    for future, answer in zip(futures, answers, strict=True):
        if future.done():
            continue  # its time was over
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)
