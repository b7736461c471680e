"""Step 6, assemble: rows, request features and retrieval scores into the model's input tensors, in the
model's column order. Cost: per view and request feature, never per value."""

from __future__ import annotations

import numpy as np
from forebay.deadline import Deadline
from forebay.errors import InvalidRequest, NotUsable
from numpy.typing import NDArray

from feature_store.types import NO_VALUE
from gateway.batch import Batch
from gateway.plan import RequestPart, TensorPlan, ViewPart


async def assemble(batch: Batch, deadline: Deadline) -> None:
    """Fill in `batch.tensors`: (rows, width) arrays, C order, NaN where a value is missing."""
    for plan in batch.pipeline.predict.tensors:
        batch.tensors[plan.name] = _tensor(batch, plan)


def _tensor(batch: Batch, plan: TensorPlan) -> NDArray[np.generic]:
    candidates = batch.candidates
    member_of_row = None if candidates is None else candidates.member_of_row
    candidate_rows = None if candidates is None else candidates.rows
    tensor = np.empty((batch.row_count, plan.width), plan.dtype)
    for part in plan.views:
        blocks, rows = (
            (batch.candidate_blocks, candidate_rows) if part.of_candidate else (batch.blocks, member_of_row)
        )
        blocks[part.view].gather(part.spec, tensor, rows)
        if plan.dtype.kind != "f":
            _refuse_missing(batch, plan, part, rows)
    for request in plan.request:
        columns = _request_columns(batch, plan, request)
        tensor[:, request.start : request.start + request.length] = (
            columns if member_of_row is None else columns[member_of_row]
        )
    if candidates is not None:
        for score in plan.score:
            tensor[:, score.column] = candidates.scores
    return tensor


def _request_columns(batch: Batch, plan: TensorPlan, request: RequestPart) -> NDArray[np.generic]:
    """Return (members, length) of the tensor's type, and fail the members whose integers it can't hold."""
    given = [member.inputs.values[request.field] for member in batch.members]
    if plan.dtype.kind != "i":
        return np.array(given, plan.dtype).reshape(len(given), request.length)
    values = np.array(given, np.int64).reshape(len(given), request.length)
    limits = np.iinfo(plan.dtype.str)
    too_large = ((values < limits.min) | (values > limits.max)).any(axis=1)
    for index in np.flatnonzero(too_large).tolist():
        name, member = f"inputs.{request.field}", batch.members[index]
        if member.error is None:
            member.error = InvalidRequest(
                f"{name}: out of the range of {plan.dtype}, which the model takes", field=name
            )
    return values.astype(plan.dtype)


def _refuse_missing(batch: Batch, plan: TensorPlan, part: ViewPart, rows: NDArray[np.intp] | None) -> None:
    """Fail the members that have no value where the tensor can't hold NaN."""
    block = (batch.candidate_blocks if part.of_candidate else batch.blocks)[part.view]
    whose = np.arange(len(batch.members)) if batch.candidates is None else batch.candidates.member_of_row
    for feature in part.spec.features:
        statuses = block.statuses(feature)
        missing = np.isin(statuses if rows is None else statuses[rows], NO_VALUE)
        for index in np.unique(whose[missing]).tolist():
            member = batch.members[index]
            if member.error is None:
                member.error = NotUsable(
                    f"{part.view}.{feature} is missing, has no default, and model input {plan.name} of "
                    f"{plan.dtype} can't say so"
                )
