"""Step 8, select: order each member's rows, cut, and give back the columns that were asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
from forebay.deadline import Deadline
from numpy.typing import NDArray

from feature_store.types import NO_VALUE
from gateway.batch import Answer, AnswerColumn, Batch, Member
from gateway.plan import RETRIEVAL_SCORE
from registry.dtypes import Scalar


async def select(batch: Batch, deadline: Deadline) -> None:
    """Give each member that has not ended yet its answer, rows in rank order."""
    count = len(batch.members)
    if batch.candidates is None:
        starts = list(range(count + 1))
    elif count == 1:
        starts = [0, batch.row_count]
    else:
        starts = np.searchsorted(batch.candidates.member_of_row, np.arange(count + 1)).tolist()
    ranking = _ranking(batch)
    for index, member in enumerate(batch.members):
        if member.error is None and member.answer is None:
            member.answer = _answer(batch, ranking, index, starts[index], starts[index + 1])


def _ranking(batch: Batch) -> NDArray[np.generic] | None:
    """Return a number per scored row, (rows,): the less, the better; NaN comes last. None: one row each."""
    candidates, by = batch.candidates, batch.pipeline.select.by
    if candidates is None:
        return None
    if by in batch.outputs:
        return -batch.outputs[by]
    if by == RETRIEVAL_SCORE:
        # Fallback candidates have no score, and stay in the order that the pipeline declares.
        scores = candidates.scores
        return np.asarray(np.where(np.isnan(scores), np.arange(len(scores)), -scores))
    view, feature = by.split(".", 1)
    block, rows = batch.rows_of(view)
    column = block.column(feature)
    ranking = _descending(np.asarray(column.values), np.isin(column.statuses, NO_VALUE))
    return ranking if rows is None else ranking[rows]


def _descending(values: NDArray[Any], missing: NDArray[np.bool_]) -> NDArray[np.generic]:
    """Return what ascends where the values descend, NaN where they are missing."""
    if values.dtype.kind == "f":
        return np.asarray(np.where(missing, np.nan, -values))
    falling: NDArray[np.generic] = ~values  # unlike a negative, of every integer
    if not missing.any():
        return falling
    ranks = np.unique(falling, return_inverse=True)[1]  # as floats, integers above 2**53 would be one
    return np.asarray(np.where(missing, np.nan, ranks))


def _answer(batch: Batch, ranking: NDArray[np.generic] | None, index: int, start: int, stop: int) -> Answer:
    member = batch.members[index]
    order = _order(batch, ranking, start, stop)[: member.top]  # (top,) scored rows, best first
    return Answer(
        member=member,
        entities=_entities(batch, member, order),
        scores=[AnswerColumn(name, values[order], Scalar.FLOAT32) for name, values in batch.outputs.items()],
        features=[_feature(batch, order, reference) for reference in member.return_features],
        oldest_as_of_us=member.oldest_as_of_us,
    )


def _order(batch: Batch, ranking: NDArray[np.generic] | None, start: int, stop: int) -> NDArray[np.intp]:
    """Return the rows as they rank, ties by key, those without a rank last."""
    if ranking is None or batch.candidates is None:
        return np.arange(start, stop)
    own = ranking[start:stop]
    order = own.argsort(kind="stable")
    ranked = own[order]
    if not np.greater(ranked[1:], ranked[:-1]).all():  # a tie, or NaN
        keys = [column[start:stop] for column in batch.candidates.columns.values()]
        order = np.lexsort((*reversed(keys), own))
    return order + start if start else order


def _entities(batch: Batch, member: Member, order: NDArray[np.intp]) -> list[AnswerColumn]:
    """Return the key columns of the ranked candidates, or of the request's entities for one row."""
    pipeline, candidates = batch.pipeline, batch.candidates
    if candidates is None or pipeline.candidates is None:
        return [
            AnswerColumn(field.name, _single(member.inputs.values[field.name]), field.dtype.scalar)
            for field in pipeline.entity_keys
        ]
    return [
        AnswerColumn(field.name, candidates.columns[field.name][order], field.dtype.scalar)
        for field in pipeline.candidates.key
    ]


def _single(value: object) -> NDArray[np.generic] | list[str]:
    return [value] if isinstance(value, str) else np.array([value])


def _feature(batch: Batch, order: NDArray[np.intp], reference: str) -> AnswerColumn:
    """Return one feature of the ranked rows as the model saw it, and its statuses."""
    view, feature = reference.split(".", 1)
    block, rows = batch.rows_of(view)
    column = block.column(feature).take(order if rows is None else rows[order])
    return AnswerColumn(reference, column.values, batch.pipeline.returnable[reference], column.statuses)
