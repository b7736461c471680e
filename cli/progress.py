"""A job's progress in the terminal: a bar per subject on stderr, plain lines where that is no terminal."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from cli.console import stderr


class ProgressDisplay:
    """Shows what it is told, as a context manager around the job. `tell` is a jobs.progress.Progress."""

    def __init__(self) -> None:
        self._console = stderr()
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}
        self._told: set[tuple[str, str]] = set()

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._bars.stop()

    def tell(self, subject: str, stage: str, done: int, total: int) -> None:
        """Show how far `subject` is in `stage`."""
        if self._console.is_terminal:
            self._draw(subject, stage, done, total)
        elif total and done >= total and (subject, stage) not in self._told:
            self._told.add((subject, stage))
            self._console.print(f"{subject}: {stage}: {total:,}")

    def _draw(self, subject: str, stage: str, done: int, total: int) -> None:
        if subject not in self._tasks:
            self._tasks[subject] = self._bars.add_task(subject)
        description = f"{subject}: {stage}"
        self._bars.update(self._tasks[subject], description=description, completed=done, total=total or None)
