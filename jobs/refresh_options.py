"""What whoever starts a refresh may ask of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RefreshOptions:
    """`allow_empty`: publish a view without rows. `allow_shrink`: publish far fewer rows than are live.
    `accepted`: publish though these checks are broken, by their names. `same_space`: an embedding's basis did
    not change, so what shares its space may stay as it is. `since`: read only rows of that event time and
    later, "last" for those since the last batch. `who` is noted in the release.
    """

    allow_empty: bool = False
    allow_shrink: bool = False
    accepted: frozenset[str] = frozenset()
    same_space: bool = False
    since: str = ""
    who: str = ""

    def accepts(self, view: str) -> frozenset[str]:
        """Return the names of the checks of a view that may be broken."""
        rows = f"{view}.rows"
        empty = {f"{rows}.empty", f"{rows}.shrink"} if self.allow_empty else set()
        shrink = {f"{rows}.shrink"} if self.allow_shrink else set()
        return self.accepted | empty | shrink
