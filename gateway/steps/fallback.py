"""What becomes of rows that are missing, stale or corrupt: each view's rule, applied per request and
reported. Without a rule a value becomes its default, else NaN; a model input that can't hold NaN refuses
(`assemble.py`)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from forebay.errors import NotUsable, Unavailable
from numpy.typing import NDArray

from feature_store.codec import RowBlock
from feature_store.store import UNREAD
from feature_store.types import Status
from gateway.batch import NEVER_US, Batch
from gateway.plan import HydratedView, Rule

NOT_FOUND = "NOT_FOUND"
"""Why a row is missing, where the store was asked for it and has none."""

UNAVAILABLE = "UNAVAILABLE"
"""Why a row couldn't be read, though the store gave others."""

_NULL, _DEFAULTED = np.uint8(Status.NULL), np.uint8(Status.DEFAULTED)


def settle(
    batch: Batch,
    stage: str,
    view: HydratedView,
    rows: Sequence[bytes | None],
    block: RowBlock,
    member_of_row: NDArray[np.intp],
    starts: list[int],
    kept: NDArray[np.intp] | None = None,
    *,
    missing: str = NOT_FOUND,
) -> RowBlock:
    """Return the block as the model may see it, and report on each member what it has to do without.

    Shapes: `rows` and `block` hold n rows; `member_of_row` (m,) says whose they are, for the m rows that
    `kept` indexes (all n when None); `starts` where each member's begin among them, and, last, m. `missing`
    is why a row isn't there.
    Cost: a few array operations, one pass over the rows of several members; more where rows fall short.
    """
    if not block.is_whole:
        for reason, mask in _shortcomings(view, rows, block, missing).items():
            affected = mask if kept is None else mask[kept]
            counts = np.bincount(member_of_row[affected], minlength=len(batch.members))
            _report(batch, stage, view, reason, counts)
        block = view.trusted(rows, block, batch.now_us)
    _note_ages(batch, view.view.max_age_us, block, member_of_row, starts, kept)
    return block


def _note_ages(
    batch: Batch,
    max_age_us: int | None,
    block: RowBlock,
    member_of_row: NDArray[np.intp],
    starts: list[int],
    kept: NDArray[np.intp] | None,
) -> None:
    """Note how old the oldest is of the rows that a member uses, on each of them; others' rows don't count.
    Where that is one instant for all, on the batch."""
    age_us = NEVER_US if max_age_us is None else max_age_us
    if kept is None and len(batch.members) == 1:
        as_of_us = block.oldest_as_of_us or 0
        batch.members[0].used(as_of_us, as_of_us + age_us)
        return
    if kept is None and block.is_whole and _all_have_rows(starts):
        if block.generation_as_of_us is not None:
            batch.used(block.generation_as_of_us, block.generation_as_of_us + age_us)
            return
        oldest = np.minimum.reduceat(block.as_of_us, starts[:-1]).tolist()
        for member, as_of_us in zip(batch.members, oldest, strict=True):
            member.used(as_of_us, as_of_us + age_us)
        return
    found = block.as_of_us if kept is None else block.as_of_us[kept]  # (m,) int64, 0 where there is none
    used = np.flatnonzero(found)
    oldest_us = np.full(len(batch.members), NEVER_US)
    np.minimum.at(oldest_us, member_of_row[used], found[used])
    for index in np.flatnonzero(oldest_us != NEVER_US).tolist():
        as_of_us = int(oldest_us[index])
        batch.members[index].used(as_of_us, as_of_us + age_us)


def _all_have_rows(starts: list[int]) -> bool:
    """Return whether every member has a row."""
    return starts[-1] >= len(starts) - 1 and len(set(starts)) == len(starts)


def _shortcomings(
    view: HydratedView, rows: Sequence[bytes | None], block: RowBlock, missing: str
) -> dict[str, NDArray[np.bool_]]:
    """Return which rows fall short, each for one reason: no row or no value, too old, unreadable, or out of
    reach where others weren't."""
    statuses = block.row_statuses
    absent = statuses == Status.NOT_FOUND
    present = statuses == Status.PRESENT
    if block.has_nulls and present.any():  # where no row is there, as without the store, no value is either
        for feature in view.features:
            of_feature = block.statuses(feature)
            absent = absent | (((of_feature == _NULL) | (of_feature == _DEFAULTED)) & present)
    corrupt = statuses == Status.ERROR
    found = {missing: absent, "STALE": statuses == Status.STALE}
    if corrupt.any():
        unread = np.fromiter((row is UNREAD for row in rows), np.bool_, len(rows))
        found |= {UNAVAILABLE: unread, "CORRUPT": corrupt & ~unread}
    return found


def _report(batch: Batch, stage: str, view: HydratedView, reason: str, counts: NDArray[np.intp]) -> None:
    for index in np.flatnonzero(counts).tolist():
        member = batch.members[index]
        if member.error is not None:
            continue
        if view.rule is Rule.FAIL:
            kind = Unavailable if reason == UNAVAILABLE else NotUsable
            member.error = kind(f"view {view.name} has no usable row ({reason}), and its rule is to fail")
            continue
        action = "STALE_ROW" if reason == "STALE" and view.rule is Rule.STALE else "DEFAULTS"
        member.degrade(stage, view.name, reason, action, int(counts[index]))
