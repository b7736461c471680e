"""Step 6, assemble: rows, request features and retrieval scores into the model's input tensors, in the
model's column order. Cost: per view and request feature, never per value."""

from __future__ import annotations

import numpy as np
from forebay.deadline import Deadline
from forebay.errors import InvalidRequest, NotUsable
from numpy.typing import NDArray

from feature_store.codec import RowBlock
from feature_store.types import NO_VALUE
from gateway.batch import Batch
from gateway.plan import RequestPart, TensorPlan, ViewPart
from gateway.steps.narrow import narrow


async def assemble(batch: Batch, deadline: Deadline) -> None:
    """Fill in `batch.tensors`: (rows, width) arrays, C order, NaN where a value is missing; for the rows that
    may be answered."""
    if batch.pipeline.select.where:
        narrow(batch)
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
        block = blocks[part.view]
        block.gather(part.spec, tensor, rows)
        if plan.dtype.kind != "f":
            _refuse_missing(batch, plan, part, block, rows)
            _refuse_too_large(batch, plan, part, block, rows)
        elif part.narrowed:
            _refuse_infinite(batch, plan, part, block, rows, tensor)
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
    """Return (members, length) of the tensor's type, and fail the members whose numbers it can't hold."""
    given = [member.inputs.values[request.field] for member in batch.members]
    shape = len(given), request.length
    if plan.dtype.kind == "i":
        integers = np.array(given, np.int64).reshape(shape)
        _refuse_inputs(batch, plan, request, _are_out_of_range(integers, plan))
        return integers.astype(plan.dtype)
    if not request.may_overflow:
        return np.array(given, plan.dtype).reshape(shape)
    with np.errstate(over="ignore"):
        columns = np.array(given, plan.dtype).reshape(shape)
    _refuse_inputs(batch, plan, request, np.asarray(np.isinf(columns).any(axis=1)))
    return columns


def _refuse_inputs(
    batch: Batch, plan: TensorPlan, request: RequestPart, too_large: NDArray[np.bool_]
) -> None:
    """Fail the members, (members,), whose request feature the model's input can't hold."""
    for index in np.flatnonzero(too_large).tolist():
        name, member = f"inputs.{request.field}", batch.members[index]
        if member.error is None:
            member.error = InvalidRequest(
                f"{name}: out of the range of {plan.dtype}, which the model takes", field=name
            )


def _refuse_missing(
    batch: Batch, plan: TensorPlan, part: ViewPart, block: RowBlock, rows: NDArray[np.intp] | None
) -> None:
    """Fail the members that have no value where the tensor can't hold NaN."""
    for feature in part.spec.features:
        missing = np.isin(block.statuses(feature), NO_VALUE)
        _refuse_rows(
            batch,
            missing if rows is None else missing[rows],
            f"{part.view}.{feature} is missing, has no default, and model input {plan.name} of "
            f"{plan.dtype} can't say so",
        )


def _refuse_too_large(
    batch: Batch, plan: TensorPlan, part: ViewPart, block: RowBlock, rows: NDArray[np.intp] | None
) -> None:
    """Fail the members that use a stored integer which the tensor can't hold."""
    for feature in part.narrowed:
        values = np.asarray(block.column(feature).values, np.int64)
        too_large = _are_out_of_range(values.reshape(len(block), -1), plan)
        _refuse_rows(
            batch,
            too_large if rows is None else too_large[rows],
            f"{part.view}.{feature} holds a number out of the range of {plan.dtype}, "
            f"which model input {plan.name} takes",
        )


def _refuse_infinite(
    batch: Batch,
    plan: TensorPlan,
    part: ViewPart,
    block: RowBlock,
    rows: NDArray[np.intp] | None,
    tensor: NDArray[np.generic],
) -> None:
    """Fail the members that use a stored number which is infinite only in the tensor.

    Cost: one pass over the tensor; more where it holds an infinity.
    """
    if not np.isinf(tensor[:, part.spec.columns]).any():
        return
    for feature in part.narrowed:
        values = np.asarray(block.column(feature).values).reshape(len(block), -1)
        with np.errstate(over="ignore"):
            infinite = np.isinf(values.astype(plan.dtype)) & np.isfinite(values)
        too_large = np.asarray(infinite.any(axis=1))
        _refuse_rows(
            batch,
            np.broadcast_to(too_large, batch.row_count) if rows is None else too_large[rows],
            f"{part.view}.{feature} holds a number out of the range of {plan.dtype}, "
            f"which model input {plan.name} takes",
        )


def _are_out_of_range(values: NDArray[np.int64], plan: TensorPlan) -> NDArray[np.bool_]:
    """Return which rows of (rows, length) hold a number that the tensor can't, (rows,) bool."""
    limits = np.iinfo(plan.dtype.str)
    return np.asarray(((values < limits.min) | (values > limits.max)).any(axis=1))


def _refuse_rows(batch: Batch, refused: NDArray[np.bool_], reason: str) -> None:
    """Fail the members of the refused rows, (rows,)."""
    if not refused.any():
        return
    whose = np.flatnonzero(refused) if batch.candidates is None else batch.candidates.member_of_row[refused]
    for index in np.unique(whose).tolist():
        member = batch.members[index]
        if member.error is None:
            member.error = NotUsable(reason)
