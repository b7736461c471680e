"""Step 8, select: order each member's rows, cut, and give back the columns that were asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from forebay.deadline import Deadline
from numpy.typing import NDArray

from feature_store.types import NO_VALUE
from gateway.batch import Answer, AnswerColumn, Batch, Candidates, Member
from gateway.plan import RETRIEVAL_SCORE
from registry.dtypes import Scalar


async def select(batch: Batch, deadline: Deadline) -> None:
    """Give each member that has not ended yet its answer, rows in rank order.

    Cost: a few array operations for all members, and a slice of each column for every one.
    """
    count, candidates = len(batch.members), batch.candidates
    starts = list(range(count + 1)) if candidates is None else candidates.starts(count)
    ranked = _ranked(batch)
    for index, member in enumerate(batch.members):
        if member.error is None and member.answer is None:
            member.used(batch.oldest_as_of_us, batch.stale_at_us)
            start = starts[index]
            own = slice(start, min(starts[index + 1], start + member.top))
            member.answer = ranked.answer(member, own)


@dataclass(slots=True)
class _Ranked:
    """All scored rows of a batch as they rank, each member's together.

    Shapes: order (m,) which row stands where; the columns (m,) in that order.
    """

    batch: Batch
    order: NDArray[np.intp]
    entities: list[tuple[str, NDArray[np.generic], Scalar]]
    scores: list[tuple[str, NDArray[np.float32]]]

    def answer(self, member: Member, rows: slice) -> Answer:
        """Return the answer of the member whose rows are these, without those that are too many."""
        entities = [AnswerColumn(name, values[rows], scalar) for name, values, scalar in self.entities]
        return Answer(
            member,
            entities or _entities(member),
            [AnswerColumn(name, values[rows], Scalar.FLOAT32) for name, values in self.scores],
            [_feature(self.batch, self.order[rows], reference) for reference in member.return_features],
            member.oldest_as_of_us,
        )


def _ranked(batch: Batch) -> _Ranked:
    candidates, declared = batch.candidates, batch.pipeline.candidates
    if candidates is None or declared is None:
        return _Ranked(batch, np.arange(batch.row_count), [], list(batch.outputs.items()))
    order = _order(batch, candidates)
    return _Ranked(
        batch,
        order,
        [(field.name, candidates.columns[field.name][order], field.dtype.scalar) for field in declared.key],
        [(name, values[order]) for name, values in batch.outputs.items()],
    )


def _order(batch: Batch, candidates: Candidates) -> NDArray[np.intp]:
    """Return the rows as they rank, each member's together, ties by key, those without a rank last."""
    ranking, whose = _ranking(batch, candidates), candidates.member_of_row
    is_alone = len(batch.members) == 1
    order = ranking.argsort(kind="stable") if is_alone else np.lexsort((ranking, whose))
    ranked = ranking[order]
    rises = np.greater(ranked[1:], ranked[:-1])
    if not is_alone:
        rises |= np.greater(whose[1:], whose[:-1])
    if not np.logical_and.reduce(rises):  # a tie, or NaN
        order = np.lexsort((*reversed(list(candidates.columns.values())), ranking, whose))
    return order


def _ranking(batch: Batch, candidates: Candidates) -> NDArray[np.generic]:
    """Return a number per scored row, (rows,): the less, the better; NaN comes last."""
    by = batch.pipeline.select.by
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


def _entities(member: Member) -> list[AnswerColumn]:
    """Return the key columns of the request's entities, for one row."""
    return [
        AnswerColumn(field.name, _single(member.inputs.values[field.name]), field.dtype.scalar)
        for field in member.pipeline.entity_keys
    ]


def _single(value: object) -> NDArray[np.generic] | list[str]:
    return [value] if isinstance(value, str) else np.array([value])


def _feature(batch: Batch, order: NDArray[np.intp], reference: str) -> AnswerColumn:
    """Return one feature of the ranked rows as the model saw it, and its statuses."""
    view, feature = reference.split(".", 1)
    block, rows = batch.rows_of(view)
    column = block.column(feature).take(order if rows is None else rows[order])
    return AnswerColumn(reference, column.values, batch.pipeline.returnable[reference], column.statuses)
