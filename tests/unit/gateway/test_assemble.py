"""What the model's tensors are made of, member by member."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from forebay.deadline import NEVER
from forebay.errors import InvalidRequest

from gateway.assemble import assemble
from gateway.batch import Batch, Member
from gateway.inputs import Inputs, InputValue
from gateway.plan import RequestPart, TensorPlan
from runtime.batcher import Criticality
from tests.support.compiled_application import CompiledApplication


def batch_of(application: CompiledApplication, tensor: TensorPlan, values: Sequence[InputValue]) -> Batch:
    pipeline = application.release.pipeline("no_rule")
    pipeline = replace(pipeline, predict=replace(pipeline.predict, tensors=(tensor,)))
    members = [
        Member(
            pipeline=pipeline,
            criticality=Criticality.DEFAULT,
            inputs=Inputs({}, {"number": value}),
            deadline=NEVER,
            admitted_s=0.0,
            top=1,
            return_features=(),
            candidates=None,
            prediction_id="",
            trace_id="",
            stages=[],
        )
        for value in values
    ]
    return Batch(pipeline, members, now_us=0)


@pytest.mark.parametrize("length", [1, 2])
async def test_an_integer_that_the_model_cannot_hold_fails_its_own_member(
    application: CompiledApplication, length: int
) -> None:
    tensor = TensorPlan("x", np.dtype(np.int32), length, (), (RequestPart("number", 0, length),), ())
    numbers = (-(2**31), 2**31, 2**31 - 1)
    values = [number if length == 1 else np.array([1, number]) for number in numbers]
    batch = batch_of(application, tensor, values)
    await assemble(batch, NEVER)
    errors = [member.error for member in batch.members]
    assert [type(error) for error in errors] == [type(None), InvalidRequest, type(None)]
    assert isinstance(errors[1], InvalidRequest)
    assert errors[1].field == "inputs.number"
    assert batch.tensors["x"][[0, 2], -1].tolist() == [-(2**31), 2**31 - 1]
