"""Steps 3 and 5, hydrate and hydrate candidates: read the feature rows of a step's views in one round trip
and settle what is missing, stale or corrupt by each view's rule (`fallback.py`)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from forebay.deadline import Deadline
from forebay.errors import NotUsable

from feature_store.codec import RowBlock
from feature_store.store import OnlineStore
from feature_store.types import Status
from gateway.batch import Batch, Candidates
from gateway.fallback import settle
from gateway.plan import HydratedView


async def hydrate(batch: Batch, store: OnlineStore, deadline: Deadline) -> None:
    """Fill in `batch.blocks`: each member's rows, in one round trip for all views and members."""
    views = batch.pipeline.hydrate
    texts = [[member.inputs.keys[view.view.entity] for member in batch.members] for view in views]
    rows = await _read(views, texts, store, deadline)
    members = np.arange(len(batch.members))
    for view, view_rows in zip(views, rows, strict=True):
        block = view.reader.decode(view_rows, batch.now_us)
        _require_entities(batch, view, block)
        batch.blocks[view.name] = settle(batch, "hydrate", view, view_rows, block, members)


async def hydrate_candidates(batch: Batch, store: OnlineStore, deadline: Deadline) -> None:
    """Fill in `batch.candidate_blocks`: each candidate's rows, in one round trip. Candidates that lack a
    required row are dropped."""
    views, candidates = batch.pipeline.hydrate_candidates, batch.candidates
    if candidates is None:
        raise ValueError("hydrate_candidates runs after the candidates are known")
    rows = await _read(views, [candidates.texts] * len(views), store, deadline)
    blocks = [
        view.reader.decode(view_rows, batch.now_us) for view, view_rows in zip(views, rows, strict=True)
    ]
    for view, view_rows, block in zip(views, rows, blocks, strict=True):
        if view.required:
            _drop_missing(batch, candidates, view, block)
        batch.candidate_blocks[view.name] = settle(
            batch, "hydrate_candidates", view, view_rows, block, candidates.member_of_row, candidates.rows
        )


async def _read(
    views: Sequence[HydratedView], texts: Sequence[Sequence[str]], store: OnlineStore, deadline: Deadline
) -> list[list[bytes | None]]:
    """Return each view's rows. Cost: one round trip; none for views that were never refreshed."""
    keys: list[bytes] = []
    for view, view_texts in zip(views, texts, strict=True):
        if view.reader.published:
            keys += view.reader.row_keys(view_texts)
    found = await store.get_many(keys, deadline) if keys else []
    rows: list[list[bytes | None]] = []
    start = 0
    for view, view_texts in zip(views, texts, strict=True):
        if view.reader.published:
            rows.append(found[start : start + len(view_texts)])
            start += len(view_texts)
        else:
            rows.append([None] * len(view_texts))
    return rows


def _require_entities(batch: Batch, view: HydratedView, block: RowBlock) -> None:
    if not view.required:
        return
    for index in np.flatnonzero(block.row_statuses == Status.NOT_FOUND).tolist():
        batch.members[index].error = NotUsable(f"view {view.name} is required and has no row for the entity")


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
            "hydrate_candidates", view.name, "NOT_FOUND", "DROPPED", int(dropped[index])
        )
    candidates.keep(np.flatnonzero(~missing))
