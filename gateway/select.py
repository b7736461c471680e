"""Step 8, select: order each member's rows by score, cut, and give back the columns that were asked for."""

from __future__ import annotations

import numpy as np
from forebay.deadline import Deadline
from numpy.typing import NDArray

from gateway.batch import Answer, AnswerColumn, Batch, Candidates, Member
from registry.dtypes import Scalar


async def select(batch: Batch, deadline: Deadline) -> None:
    """Fill in `batch.answers`: each member's, rows in rank order; None for a member that failed."""
    count = len(batch.members)
    if batch.candidates is None:
        starts = list(range(count + 1))
    elif count == 1:
        starts = [0, batch.row_count]
    else:
        starts = np.searchsorted(batch.candidates.member_of_row, np.arange(count + 1)).tolist()
    batch.answers = [
        None if member.error is not None else _answer(batch, index, starts[index], starts[index + 1])
        for index, member in enumerate(batch.members)
    ]


def _answer(batch: Batch, index: int, start: int, stop: int) -> Answer:
    member = batch.members[index]
    order = _order(batch, start, stop)[: member.top]  # (top,) scored rows, best first
    return Answer(
        member=member,
        entities=_entities(batch, member, order),
        scores=[AnswerColumn(name, values[order], Scalar.FLOAT32) for name, values in batch.outputs.items()],
        features=[_feature(batch, index, order, reference) for reference in member.return_features],
        oldest_as_of_us=member.oldest_as_of_us,
    )


def _order(batch: Batch, start: int, stop: int) -> NDArray[np.intp]:
    """Return the rows by descending score, ties by key, a score that is NaN last."""
    if batch.candidates is None:
        return np.arange(start, stop)
    descending = -batch.outputs[batch.pipeline.select.by][start:stop]
    order = descending.argsort(kind="stable")
    ranked = descending[order]
    if (ranked[1:] == ranked[:-1]).any() or np.isnan(ranked[-1:]).any():
        keys = [column[start:stop] for column in _tie_breakers(batch.candidates)]
        order = np.lexsort((*reversed(keys), descending))
    return order + start if start else order


def _tie_breakers(candidates: Candidates) -> list[NDArray[np.generic]]:
    # Positions in an index rise with its keys.
    return list(candidates.columns.values()) if candidates.positions is None else [candidates.positions]


def _entities(batch: Batch, member: Member, order: NDArray[np.intp]) -> list[AnswerColumn]:
    """Return the key columns of the ranked candidates, or of the request's entities for one row."""
    pipeline, candidates = batch.pipeline, batch.candidates
    if candidates is None or pipeline.candidates is None:
        return [
            AnswerColumn(field.name, _single(member.inputs.values[field.name]), field.dtype.scalar)
            for field in pipeline.entity_keys
        ]
    if candidates.positions is None or pipeline.retrieve is None:
        return [
            AnswerColumn(field.name, candidates.columns[field.name][order], field.dtype.scalar)
            for field in pipeline.candidates.key
        ]
    (field,) = pipeline.candidates.key
    values = pipeline.retrieve.snapshot.keys.values(candidates.positions[order])
    return [AnswerColumn(field.name, values, field.dtype.scalar)]


def _single(value: object) -> NDArray[np.generic] | list[str]:
    return [value] if isinstance(value, str) else np.array([value])


def _feature(batch: Batch, index: int, order: NDArray[np.intp], reference: str) -> AnswerColumn:
    """Return one feature of the ranked rows as the model saw it, and its statuses."""
    view, feature = reference.split(".", 1)
    if view in batch.candidate_blocks and batch.candidates is not None:
        block = batch.candidate_blocks[view]
        rows = order if batch.candidates.rows is None else batch.candidates.rows[order]
    else:
        block = batch.blocks[view]
        rows = np.full(len(order), index)
    column = block.column(feature).take(rows)
    return AnswerColumn(reference, column.values, batch.pipeline.returnable[reference], column.statuses)
