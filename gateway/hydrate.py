"""Steps 3 and 5, hydrate and hydrate candidates: read the feature rows of a step's views in one round trip
and settle what is missing, stale or corrupt by each view's rule (`fallback.py`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from forebay.deadline import Deadline
from forebay.errors import DeadlineExceeded, Unavailable

from feature_store.codec import RowBlock
from feature_store.store import OnlineStore
from feature_store.types import Status
from gateway.batch import Batch, Candidates
from gateway.candidate_keys import mixed_texts
from gateway.fallback import NOT_FOUND, settle
from gateway.plan import HydratedView, Rule


async def hydrate(batch: Batch, store: OnlineStore, deadline: Deadline) -> None:
    """Fill in `batch.blocks`: each member's rows, in one round trip for all views and members.

    Raises: what the store raises, unless every view's rule says what to do without its rows.
    """
    views = batch.pipeline.hydrate
    texts = [[member.inputs.keys[view.view.entity] for member in batch.members] for view in views]
    read = await _read(views, texts, store, deadline)
    members = np.arange(len(batch.members))
    for view, rows in zip(views, read.rows, strict=True):
        block = view.reader.decode(rows, batch.now_us)
        batch.blocks[view.name] = settle(batch, "hydrate", view, rows, block, members, missing=read.missing)


async def hydrate_candidates(batch: Batch, store: OnlineStore, deadline: Deadline) -> None:
    """Fill in `batch.candidate_blocks`: each candidate's rows, in one round trip. Candidates that lack a
    required row are dropped.

    Raises: as `hydrate`.
    """
    views, candidates = batch.pipeline.hydrate_candidates, batch.candidates
    if candidates is None:
        raise ValueError("hydrate_candidates runs after the candidates are known")
    texts = [
        candidates.texts if view.key is None else mixed_texts(batch, candidates, view.key) for view in views
    ]
    read = await _read(views, texts, store, deadline)
    blocks = [view.reader.decode(rows, batch.now_us) for view, rows in zip(views, read.rows, strict=True)]
    for view, block in zip(views, blocks, strict=True):
        if view.required and read.missing == NOT_FOUND:
            _drop_missing(batch, candidates, view, block)
    whose, kept = candidates.member_of_row, candidates.rows
    for view, rows, block in zip(views, read.rows, blocks, strict=True):
        batch.candidate_blocks[view.name] = settle(
            batch, "hydrate_candidates", view, rows, block, whose, kept, missing=read.missing
        )


@dataclass(frozen=True, slots=True)
class _Read:
    """Each view's rows, and why one that is None isn't there."""

    rows: list[list[bytes | None]]
    missing: str = NOT_FOUND


async def _read(
    views: Sequence[HydratedView], texts: Sequence[Sequence[str]], store: OnlineStore, deadline: Deadline
) -> _Read:
    """Return each view's rows; none at all where they can't be read and every view can do without.

    Cost: one round trip; none for views that were never refreshed.
    """
    keys: list[bytes] = []
    for view, view_texts in zip(views, texts, strict=True):
        if view.reader.published:
            keys += view.reader.row_keys(view_texts)
    try:
        found = await store.get_many(keys, deadline) if keys else []
    except (DeadlineExceeded, Unavailable) as error:
        if any(view.rule in (None, Rule.FAIL) for view in views):
            raise
        absent: list[list[bytes | None]] = [[None] * len(view_texts) for view_texts in texts]
        return _Read(absent, "TIMEOUT" if isinstance(error, DeadlineExceeded) else "UNAVAILABLE")
    rows: list[list[bytes | None]] = []
    start = 0
    for view, view_texts in zip(views, texts, strict=True):
        if view.reader.published:
            rows.append(found[start : start + len(view_texts)])
            start += len(view_texts)
        else:
            rows.append([None] * len(view_texts))
    return _Read(rows)


def _drop_missing(batch: Batch, candidates: Candidates, view: HydratedView, block: RowBlock) -> None:
    """Take the candidates out that lack the view's row, and count them."""
    missing = block.row_statuses == Status.NOT_FOUND
    if candidates.rows is not None:
        missing = missing[candidates.rows]
    if not missing.any():
        return
    dropped = np.bincount(candidates.member_of_row[missing], minlength=len(batch.members))
    for index in np.flatnonzero(dropped).tolist():
        batch.members[index].degrade(
            "hydrate_candidates", view.name, NOT_FOUND, "DROPPED", int(dropped[index])
        )
    candidates.keep(np.flatnonzero(~missing))
