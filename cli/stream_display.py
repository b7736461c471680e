"""What `forebay stream run` shows on a terminal: a live table of its partitions and backfills."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rich import box
from rich.live import Live
from rich.table import Table

from cli.console import stderr
from jobs.stream.worker import WorkerState
from runtime.clock import Clock

_REFRESH_S = 0.5


class StreamDisplay:
    """Draws a worker's state on stderr, if that is a terminal."""

    def __init__(self) -> None:
        self._console = stderr()
        self.is_live = self._console.is_terminal

    @asynccontextmanager
    async def showing(self, state: WorkerState, clock: Clock) -> AsyncIterator[None]:
        """Show the state while the block runs."""
        if not self.is_live:
            yield
            return
        with Live(console=self._console, auto_refresh=False) as live:
            drawing = asyncio.create_task(_draw(live, state, clock))
            try:
                yield
            finally:
                drawing.cancel()
                await asyncio.gather(drawing, return_exceptions=True)
                live.update(table_of(state, clock, {}), refresh=True)


async def _draw(live: Live, state: WorkerState, clock: Clock) -> None:
    before: dict[tuple[str, int], int] = {}
    while True:
        live.update(table_of(state, clock, before), refresh=True)
        before = {key: one.read for key, one in state.partitions.items()}
        await asyncio.sleep(_REFRESH_S)


def table_of(state: WorkerState, clock: Clock, before: dict[tuple[str, int], int]) -> Table:
    """Return the table; `before` is how many events each partition had read at the last one."""
    table = Table(box=box.SIMPLE_HEAD, title=state.problem or None)
    for column in ("", "events/s", "applied", "repeated", "late", "dead", "lost", "behind", "fresh"):
        table.add_column(column, justify="left" if not column else "right")
    for view, filling in state.backfills.items():
        if not filling.is_done:
            counts = filling.counts
            shown = [f"{counts[name]:,}" for name in ("applied", "repeated", "late", "invalid")]
            behind = f"{max(0, filling.total - filling.done):,}"
            table.add_row(f"history of {view}", "", *shown, "", behind, filling.problem)
    for key, one in sorted(state.partitions.items()):
        rate = (one.read - before.get(key, one.read)) / _REFRESH_S
        counts = one.counts
        names = ("applied", "repeated", "late", "invalid", "lost")
        fresh = ""
        if one.watermark_us is not None:
            fresh = f"{(clock.now_us() - one.watermark_us) / 1e6:.1f} s"
        lag = "" if one.lag is None else f"{one.lag:,}"
        shown = [f"{counts[name]:,}" for name in names]
        table.add_row(f"{key[0]} {key[1]}", f"{rate:,.0f}", *shown, lag, one.problem or fresh)
    return table
