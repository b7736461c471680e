"""Keeps what a failed test says to a readable length: where `CI` is set, pytest shows the two sides of an
assertion in full, however long they are."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest
from _pytest._code.code import ExceptionChainRepr

LINES = 40
"""Kept of each frame and of each captured stream: half of them its first, half its last."""
WIDTH = 400


def shortened(lines: list[str]) -> list[str]:
    """Return the lines, long ones cut, without the middle of many."""
    cut = [line if len(line) <= WIDTH else f"{line[:WIDTH]} ({len(line)} characters)" for line in lines]
    if len(cut) <= LINES:
        return cut
    half = LINES // 2
    return [*cut[:half], f"... {len(cut) - 2 * half} lines left out ...", *cut[-half:]]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Shorten the report of a failure."""
    report = yield
    if report.failed:
        if isinstance(report.longrepr, ExceptionChainRepr):
            _shorten(report.longrepr)
        report.sections = [(name, "\n".join(shortened(text.splitlines()))) for name, text in report.sections]
    return report


def _shorten(shown: ExceptionChainRepr) -> None:
    for traceback, crash, _ in shown.chain:
        for entry in traceback.reprentries:
            lines: Any = getattr(entry, "lines", None)
            if lines is not None:
                entry.lines = shortened(lines)
        if crash is not None:
            crash.message = "".join(shortened(crash.message.splitlines()[:1]))
