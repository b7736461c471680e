"""Step 4, retrieve: search the index with each member's vector, all members in one call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from forebay.deadline import Deadline
from forebay.errors import NotUsable
from numpy.typing import NDArray

from ann_index.queries import are_searchable, is_in_range
from ann_index.types import Metric, Neighbours
from feature_store.codec import RowBlock
from feature_store.types import NO_VALUE
from gateway.batch import Batch, Candidates
from gateway.plan import RetrieveStep
from registry.columns import VariableLists
from runtime.offload import Offload


async def retrieve(batch: Batch, offload: Offload, deadline: Deadline) -> None:
    """Fill in `batch.candidates` with each member's neighbours, closest first.

    A member whose query vector is missing fails with NotUsable naming the view; the others go on.
    """
    step = batch.pipeline.retrieve
    if step is None:
        raise ValueError("retrieve runs only in a pipeline that declares it")
    queries = _queries(batch, step)
    asking = np.array([place for place, member in enumerate(batch.members) if member.error is None])
    if not len(asking):
        return
    if len(asking) < len(queries):
        queries = queries[asking]
    search = partial(step.snapshot.index.search, queries, step.k, _excluded(batch, step, asking))
    found = await offload.run(step.estimate, len(asking), deadline, search)
    batch.candidates = _flatten(found, asking, step)


def request_candidates(batch: Batch) -> None:
    """Fill in `batch.candidates` with those that the requests name."""
    given = [member.candidates for member in batch.members]
    counts = [0 if candidates is None else len(candidates.texts) for candidates in given]
    batch.candidates = Candidates(
        texts=[text for candidates in given if candidates is not None for text in candidates.texts],
        member_of_row=np.repeat(np.arange(len(counts)), counts),
        scores=np.full(sum(counts), np.nan, np.float32),
        positions=None,
        columns=_concatenated([candidates.columns for candidates in given if candidates is not None]),
    )


def _concatenated(tables: Sequence[Mapping[str, NDArray[np.generic]]]) -> dict[str, NDArray[np.generic]]:
    names = tables[0] if tables else ()
    return {name: np.concatenate([table[name] for table in tables]) for name in names}


def _queries(batch: Batch, step: RetrieveStep) -> NDArray[np.float32]:
    """Return (members, dimension) float32, and fail the members whose vector is missing."""
    queries = np.empty((len(batch.members), step.snapshot.index.dimension), np.float32)
    batch.blocks[step.query_view].gather(step.query, queries)
    metric = step.snapshot.index.metric
    if metric is Metric.COSINE or not is_in_range(queries):
        for index in np.flatnonzero(~are_searchable(queries, metric)).tolist():
            member = batch.members[index]
            if member.error is None:
                member.error = NotUsable(
                    f"view {step.query_view} has no vector to search index {step.index} with for this entity"
                )
    return queries


def _excluded(batch: Batch, step: RetrieveStep, asking: NDArray[np.intp]) -> list[NDArray[np.int64]] | None:
    if step.exclude_view is None or step.exclude is None:
        return None
    values = _lists(batch.blocks[step.exclude_view], step.exclude)
    offsets, keys = values.offsets, step.snapshot.keys
    excluded = []
    for index in asking:
        positions = keys.positions(values.values[offsets[index] : offsets[index + 1]])
        excluded.append(positions[positions >= 0])
    return excluded


def _lists(block: RowBlock, feature: str) -> VariableLists:
    """Return a feature as lists, a scalar as lists of one, and what has no value as empty ones."""
    values, statuses = block.column(feature)
    if isinstance(values, VariableLists):
        return values
    known = ~np.isin(statuses, NO_VALUE)
    array = np.asarray(values)
    lengths = known * (array.shape[1] if array.ndim > 1 else 1)  # (members,) int64
    return VariableLists(array[known].reshape(-1), np.concatenate(([0], np.cumsum(lengths))))


def _flatten(found: Neighbours, asking: NDArray[np.intp], step: RetrieveStep) -> Candidates:
    if found.positions[:, -1].min() >= 0:  # padding comes last: there is none
        positions, scores = found.positions.reshape(-1), found.scores.reshape(-1)
        member_of_row = np.repeat(asking, found.positions.shape[1])
    else:
        valid = found.positions >= 0
        positions, scores = found.positions[valid], found.scores[valid]
        member_of_row = np.repeat(asking, valid.sum(axis=1))
    return Candidates(
        texts=step.snapshot.keys.texts_of(positions),
        member_of_row=member_of_row,
        scores=scores,
        positions=positions,
        columns={},
    )
