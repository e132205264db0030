"""How far a study is: a bar with the time that is left in a terminal, elsewhere two lines a run."""

import sys
import time
from types import TracebackType

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

MAX_SAID = 60


class StudyProgress:
    """Counts runs; the time left is the mean time of the runs so far, times those that wait.

    Args:
        total: runs that are still to be done.
    """

    def __init__(self, total: int) -> None:
        self.total, self.done = total, 0
        self._began = self._run_began = time.monotonic()
        self._label = ""
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[left]}"),
        )
        self._bar = Progress(*columns, transient=True) if sys.stdout.isatty() and total else None
        self._task = self._bar.add_task("", total=total, left="") if self._bar else None

    def __enter__(self) -> "StudyProgress":
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    @property
    def left(self) -> str:
        """How long the rest will take, in words; empty before the first run has ended."""
        if self.done == 0:
            return ""
        return f"about {in_words((time.monotonic() - self._began) / self.done * (self.total - self.done))} left"

    def begin(self, label: str) -> None:
        """A run begins."""
        self._label, self._run_began = label, time.monotonic()
        self._show("")

    def say(self, line: str) -> None:
        """What the run prints: the last line stands beside the bar."""
        if line.strip():
            self._show(line.strip())

    def end(self, failed: str | None) -> None:
        """The run has ended, well or not."""
        self.done += 1
        took = in_words(time.monotonic() - self._run_began)
        text = f"{self.done}/{self.total}  {self._label}: " + (
            f"done in {took}" if failed is None else f"failed: {failed}"
        )
        rest = f"; {self.left}" if self.done < self.total else ""
        if self._bar is None:
            print(text + rest, flush=True)
        else:
            self._bar.console.print(text, markup=False, highlight=False)
            self._show("")

    def _show(self, said: str) -> None:
        if self._bar is not None and self._task is not None:
            words = f"{self._label}  {said[:MAX_SAID]}" if said else self._label
            self._bar.update(self._task, completed=self.done, description=_plain(words), left=self.left)


def _plain(text: str) -> str:
    """Text in which the terminal library finds no markup."""
    return text.replace("[", "(").replace("]", ")")


def in_words(seconds: float) -> str:
    """A time as people say it.

    >>> in_words(7.4), in_words(100), in_words(9000)
    ('7 s', '2 min', '2.5 h')
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
