"""The servers that a client may ask, and whose turn it is."""

from __future__ import annotations

import re
from collections.abc import Container, Sequence
from itertools import count

from forebay.errors import InvalidRequest

REST_S = 1.0
"""How long an address that was not reachable is passed over, before one call tries it again."""

_LIST_OF_GRPC = re.compile(r"ipv[46]:")


def addresses(target: str | Sequence[str]) -> tuple[str, ...]:
    """Return the addresses of `a:8500,b:8500`, or of a sequence of such.

    gRPC's own lists (`ipv4:1.2.3.4:8500,5.6.7.8:8500`) stay one target, which gRPC resolves itself.
    Raises: InvalidRequest where there is none, or one twice.
    """
    if isinstance(target, str):
        target = [target] if _LIST_OF_GRPC.match(target) else target.split(",")
    found = tuple(each.strip() for each in target)
    if not found or not all(found):
        raise InvalidRequest("target: needs an address, HOST:PORT", field="target")
    if len(set(found)) < len(found):
        raise InvalidRequest("target: names an address twice", field="target")
    return found


class Rotation:
    """Addresses by their position, in turn; one that was not reachable rests. Many threads may use it."""

    def __init__(self, count_: int) -> None:
        self.count = count_
        self._turns = count()
        self._rests_until_s = [0.0] * count_  # 0: doesn't rest

    def turn(self) -> int:
        """Return the address that a new call begins to look at."""
        return next(self._turns) % self.count if self.count > 1 else 0

    def pick(self, turn: int, tried: Container[int], now_s: float) -> int:
        """Return an address that was not tried, from `turn` on; one that rests only where no other is left.

        The first to ask for an address whose rest is over takes the risk: to others it rests on.
        """
        if self.count == 1:
            return 0
        left = [place for place in self._from(turn) if place not in tried]
        awake = [place for place in left if self._rests_until_s[place] <= now_s]
        place = (awake or left)[0]
        if self._rests_until_s[place]:
            self.rest(place, now_s)
        return place

    def rest(self, address: int, now_s: float) -> None:
        """Pass an address over for a while."""
        self._rests_until_s[address] = now_s + REST_S

    def wake(self, address: int) -> None:
        """Let an address take its turns again."""
        self._rests_until_s[address] = 0.0

    def _from(self, turn: int) -> Sequence[int]:
        return [*range(turn, self.count), *range(turn)]
