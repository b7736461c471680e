"""How a job tells what it is doing, so that a terminal can draw it and a log can note it."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, str, int, int], None]
"""Is told a subject ("view movie_profile"), the stage it is in ("load"), how much is done and of how much.

May be called from another thread than the job's.
"""


def unheard(subject: str, stage: str, done: int, total: int) -> None:
    """Take a job's progress and tell nobody."""
