"""Who makes an answer that several wait for, and what was written meanwhile. Pure: `recall.py` does the
waiting."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.recall.entries import Rows
from runtime.batcher import Criticality


@dataclass(slots=True, eq=False)
class Flight:
    """An answer on its way: for one key, from one release. Units: seconds of the monotonic clock."""

    key: bytes
    release: int
    criticality: Criticality
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
    """The answers on their way; at most one for a key, a release and a criticality."""

    def __init__(self) -> None:
        self._under_way: dict[tuple[bytes, int, int], Flight] = {}

    def __len__(self) -> int:
        return len(self._under_way)

    def under_way(self, key: bytes, release: int, criticality: Criticality) -> Flight | None:
        """Return the flight that such a request may join.

        One of another release is none; nor is one that is less critical, such as a refresh: under overload it
        waits behind everybody else, or is shed, and who joined it with it.
        """
        for level in range(criticality + 1):
            flight = self._under_way.get((key, release, level))
            if flight is not None:
                return flight
        return None

    def start(
        self, key: bytes, release: int, criticality: Criticality, now_s: float, watched: frozenset[str]
    ) -> Flight:
        """Return a new flight, which everybody who asks for the same and is no more critical joins."""
        flight = Flight(key, release, criticality, now_s, watched)
        self._under_way[key, release, criticality] = flight
        return flight

    def end(self, flight: Flight) -> None:
        """Let nobody join any more."""
        del self._under_way[flight.key, flight.release, flight.criticality]

    def wrote(self, view: str, texts: frozenset[str]) -> None:
        """Tell the flights that need to know of rows written. Cost: a step per flight."""
        for flight in self._under_way.values():
            if view in flight.watched:
                flight.writes.append((view, texts))
