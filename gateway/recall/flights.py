"""Who makes an answer that several wait for, and what was written meanwhile. Pure: `recall.py` does the
waiting."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.recall.entries import Rows


@dataclass(slots=True, eq=False)
class Flight:
    """An answer on its way: for one key, from one release. Units: seconds of the monotonic clock."""

    key: bytes
    release: int
    started_s: float
    watched: frozenset[str]
    """The views whose writes it has to hear of."""
    writes: list[tuple[str, frozenset[str]]] = field(default_factory=list)
    """What was written since it started: the view, and the rows' key texts."""

    def first_write_to(self, rows: Rows) -> int | None:
        """Return the place of the first write that touched one of `rows`; None where none did.

        Its answer may be older than that write. Who joined before the write had ended may take it all the
        same; who joined later, having heard of it, may not.
        """
        for place, (view, texts) in enumerate(self.writes):
            if not texts.isdisjoint(rows.get(view, ())):
                return place
        return None


class Flights:
    """The answers on their way; at most one for a key and a release."""

    def __init__(self) -> None:
        self._under_way: dict[tuple[bytes, int], Flight] = {}

    def __len__(self) -> int:
        return len(self._under_way)

    def under_way(self, key: bytes, release: int) -> Flight | None:
        """Return the flight that a request may join. One of another release is none."""
        return self._under_way.get((key, release))

    def start(self, key: bytes, release: int, now_s: float, watched: frozenset[str]) -> Flight:
        """Return a new flight, which everybody who asks for the same joins from now on."""
        flight = self._under_way[key, release] = Flight(key, release, now_s, watched)
        return flight

    def end(self, flight: Flight) -> None:
        """Let nobody join any more."""
        del self._under_way[flight.key, flight.release]

    def wrote(self, view: str, texts: frozenset[str]) -> None:
        """Tell the flights that need to know of rows written. Cost: a step per flight."""
        for flight in self._under_way.values():
            if view in flight.watched:
                flight.writes.append((view, texts))
