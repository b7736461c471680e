"""Steps 3 and 5, hydrate and hydrate candidates: read the feature rows of a step's views in one round trip
and settle what is missing, stale or corrupt by each view's rule (`fallback.py`)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import numpy as np
from forebay.deadline import Deadline
from forebay.errors import Error

from feature_store.codec import RowBlock
from feature_store.store import OnlineStore
from feature_store.types import Status
from feature_store.view_rows import ViewRows
from gateway.batch import Batch, Candidates
from gateway.plan import HydratedView
from gateway.steps.candidate_keys import mixed_texts
from gateway.steps.fallback import NOT_FOUND, settle
from gateway.steps.step import DependentStep, Step
from runtime.clock import Clock
from runtime.gate import Gate


def hydrate_step(store: OnlineStore, clock: Clock, gate: Callable[[Batch], Gate]) -> Step:
    """Return step 3."""
    rows = ViewRows(store)

    async def work(batch: Batch, deadline: Deadline) -> None:
        await hydrate(batch, _reader(batch, rows, clock, deadline, is_spare(batch)))

    def is_spare(batch: Batch) -> bool:
        return "hydrate" in batch.pipeline.spare_steps

    return DependentStep(
        "hydrate",
        work=work,
        gate=gate,
        size=lambda batch: len(batch.members) * len(batch.pipeline.hydrate),
        is_spare=is_spare,
        without=hydrate_without,
    )


def hydrate_candidates_step(store: OnlineStore, clock: Clock, gate: Callable[[Batch], Gate]) -> Step:
    """Return step 5."""
    rows = ViewRows(store)

    async def work(batch: Batch, deadline: Deadline) -> None:
        await hydrate_candidates(batch, _reader(batch, rows, clock, deadline, is_spare(batch)))

    def is_spare(batch: Batch) -> bool:
        return "hydrate_candidates" in batch.pipeline.spare_steps

    return DependentStep(
        "hydrate_candidates",
        work=work,
        gate=gate,
        size=lambda batch: max(1, batch.row_count * len(batch.pipeline.hydrate_candidates)),
        is_spare=is_spare,
        without=hydrate_candidates_without,
    )


Rows = list[bytes | None]
Read = Callable[[Sequence[HydratedView], Sequence[Sequence[str]]], Awaitable[list[Rows]]]
"""Returns the rows of some views under their key texts, before the step's deadline."""


def _reader(batch: Batch, rows: ViewRows, clock: Clock, deadline: Deadline, is_spare: bool) -> Read:
    """Return how a step reads; where the batch could do without, it counts how long it waits."""

    def read(views: Sequence[HydratedView], texts: Sequence[Sequence[str]]) -> Awaitable[list[Rows]]:
        return rows.read([view.reader for view in views], texts, deadline)

    async def counted(views: Sequence[HydratedView], texts: Sequence[Sequence[str]]) -> list[Rows]:
        start_s = clock.monotonic_s()
        try:
            return await read(views, texts)
        finally:
            batch.waited_s += clock.monotonic_s() - start_s

    return counted if is_spare else read


async def hydrate(batch: Batch, read: Read) -> None:
    """Fill in `batch.blocks`: each member's rows, in one round trip for all views and members.

    Raises: DeadlineExceeded, Unavailable.
    """
    views = batch.pipeline.hydrate
    texts = [[member.inputs.keys[view.view.entity] for member in batch.members] for view in views]
    _fill(batch, await read(views, texts), NOT_FOUND)


async def hydrate_without(batch: Batch, reason: str, error: Error) -> None:
    """Fill in `batch.blocks` by each view's rule, no row of it being there for `reason`."""
    absent = [[view.reader.absent_row] * len(batch.members) for view in batch.pipeline.hydrate]
    _fill(batch, absent, reason)


async def hydrate_candidates(batch: Batch, read: Read) -> None:
    """Fill in `batch.candidate_blocks`: each candidate's rows, in one round trip. Candidates that lack a
    required row are dropped.

    Raises: as `hydrate`.
    """
    views, candidates = batch.pipeline.hydrate_candidates, _candidates(batch)
    texts = [
        candidates.texts if view.key is None else mixed_texts(batch, candidates, view.key) for view in views
    ]
    _note_texts(batch, candidates, texts)
    _fill_candidates(batch, await read(views, texts), NOT_FOUND)


def _note_texts(batch: Batch, candidates: Candidates, texts: Sequence[Sequence[str]]) -> None:
    """Note on each member which candidates' rows will be read, where writes to them end its answer."""
    recall = batch.pipeline.recall
    if recall is None or not recall.candidate_views:
        return
    starts = candidates.starts(len(batch.members))
    for view, view_texts in zip(batch.pipeline.hydrate_candidates, texts, strict=True):
        if view.name in recall.candidate_views:
            for index, member in enumerate(batch.members):
                member.row_texts[view.name] = view_texts[starts[index] : starts[index + 1]]


async def hydrate_candidates_without(batch: Batch, reason: str, error: Error) -> None:
    """Fill in `batch.candidate_blocks` by each view's rule, no row of it being there for `reason`: whether a
    required one exists isn't known, so no candidate is dropped."""
    count = len(_candidates(batch).texts)
    absent = [[view.reader.absent_row] * count for view in batch.pipeline.hydrate_candidates]
    _fill_candidates(batch, absent, reason)


def _candidates(batch: Batch) -> Candidates:
    if batch.candidates is None:
        raise ValueError("hydrate_candidates runs after the candidates are known")
    return batch.candidates


def _fill(batch: Batch, read: Sequence[Rows], missing: str) -> None:
    count = len(batch.members)
    members, starts = np.arange(count), list(range(count + 1))
    for view, rows in zip(batch.pipeline.hydrate, read, strict=True):
        block = view.reader.decode(rows, batch.now_us)
        batch.rows[view.name] = rows
        batch.blocks[view.name] = settle(
            batch, "hydrate", view, rows, block, members, starts, missing=missing
        )


def _fill_candidates(batch: Batch, read: Sequence[Rows], missing: str) -> None:
    views, candidates = batch.pipeline.hydrate_candidates, _candidates(batch)
    blocks = [view.reader.decode(rows, batch.now_us) for view, rows in zip(views, read, strict=True)]
    for view, block in zip(views, blocks, strict=True):
        if view.required and missing == NOT_FOUND:
            _drop_missing(batch, candidates, view, block)
    whose, kept, starts = candidates.member_of_row, candidates.rows, candidates.starts(len(batch.members))
    for view, rows, block in zip(views, read, blocks, strict=True):
        batch.candidate_blocks[view.name] = settle(
            batch, "hydrate_candidates", view, rows, block, whose, starts, kept, missing=missing
        )


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
