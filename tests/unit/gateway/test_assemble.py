"""What the model's tensors are made of, member by member."""

from collections.abc import Sequence
from dataclasses import replace
from math import inf

import numpy as np
import pytest
from forebay.deadline import NEVER
from forebay.errors import Internal, InvalidRequest, NotUsable

from feature_store.codec import RowEncoder, ViewReader
from feature_store.schema import Feature as SchemaFeature
from feature_store.schema import FeatureView, RowSchema
from feature_store.types import KeyField
from gateway.batch import Batch, Candidates, Member, result_of
from gateway.inputs import Inputs, InputValue
from gateway.plan import RequestPart, TensorPlan, ViewPart
from gateway.steps.assemble import assemble
from registry.columns import ColumnData
from registry.dtypes import DType
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
            work_until_s=inf,
            give_up_s=inf,
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


async def test_a_number_that_the_models_float_cannot_hold_fails_its_own_member(
    application: CompiledApplication,
) -> None:
    tensor = TensorPlan(
        "x", np.dtype(np.float32), 2, (), (RequestPart("number", 0, 2, may_overflow=True),), ()
    )
    batch = batch_of(application, tensor, [np.array([1.0, number]) for number in (3e38, 1e39, -1e300)])
    await assemble(batch, NEVER)
    errors = [member.error for member in batch.members]
    assert [type(error) for error in errors] == [type(None), InvalidRequest, InvalidRequest]
    assert isinstance(errors[1], InvalidRequest)
    assert errors[1].field == "inputs.number"
    assert "range of float32" in errors[1].message
    assert batch.tensors["x"][0].tolist() == [1.0, np.float32(3e38)]


@pytest.mark.parametrize("of_candidate", [False, True])
async def test_a_stored_integer_that_the_model_cannot_hold_fails_the_members_that_use_it(
    application: CompiledApplication, of_candidate: bool
) -> None:
    view = wide_view()
    rows = [2**31 - 1, 2**31, -(2**31) - 1, -(2**31)]
    block = view.decode(
        RowEncoder(view.view.schema).encode(
            {"number": ColumnData(np.array(rows), None)}, np.zeros(4, np.int64), 1
        ),
        now_us=1,
    )
    part = ViewPart("wide", of_candidate, view.gather_spec(["number"], [0]), ("number",))
    batch = batch_of(application, TensorPlan("x", np.dtype(np.int32), 1, (part,), (), ()), [0, 0, 0, 0])
    if of_candidate:  # two rows of the first member, one each of the second and third
        batch.candidates = Candidates([], np.array([0, 0, 1, 3]), np.zeros(4, np.float32), {})
        batch.candidate_blocks["wide"] = block
    else:
        batch.blocks["wide"] = block
    await assemble(batch, NEVER)
    failed = [index for index, member in enumerate(batch.members) if member.error is not None]
    assert failed == ([0, 1] if of_candidate else [1, 2])
    error = batch.members[1].error
    assert isinstance(error, NotUsable)
    assert "wide.number" in error.message
    assert "range of int32" in error.message


@pytest.mark.parametrize(
    ("stored", "target", "rows", "failed"),
    [
        ("float64", "f4", [1e38, 1e39, -1e300, np.inf], [1, 2]),
        ("float64", "f2", [65_504.0, 65_520.0, -1e300, np.nan], [1, 2]),
        ("float32", "f2", [65_504.0, 65_520.0, 1e-30, -np.inf], [1]),
        ("int64", "f2", [65_504, 2**40, -(2**63), 0], [1, 2]),
        ("int32", "f2", [2_049, 65_504, 65_520, -(2**31)], [2, 3]),
    ],
)
async def test_a_stored_number_is_never_made_infinite_for_the_model(
    application: CompiledApplication, stored: str, target: str, rows: list[float], failed: list[int]
) -> None:
    view = wide_view(stored)
    values = ColumnData(np.array(rows, view.features["number"].dtype.scalar.numpy), None)
    encoded = RowEncoder(view.view.schema).encode({"number": values}, np.zeros(4, np.int64), 1)
    part = ViewPart("wide", False, view.gather_spec(["number"], [0]), ("number",))
    batch = batch_of(application, TensorPlan("x", np.dtype(target), 1, (part,), (), ()), [0, 0, 0, 0])
    batch.blocks["wide"] = view.decode(encoded, now_us=1)
    await assemble(batch, NEVER)
    assert [index for index, member in enumerate(batch.members) if member.error is not None] == failed
    assert all(isinstance(batch.members[index].error, NotUsable) for index in failed)
    whole = [index for index in range(4) if index not in failed]
    given = np.array(rows)[whole].astype(target)
    np.testing.assert_array_equal(batch.tensors["x"][whole, 0], given)


def wide_view(dtype: str = "int64") -> ViewReader:
    schema = RowSchema(1, (SchemaFeature("number", DType.parse(dtype)),))
    key = (KeyField("user_id", DType.parse("int64")),)
    return ViewReader(FeatureView("wide", 1, "user", 1, key, schema), generation=1, as_of_us=1)


def test_a_member_without_answer_and_error_gets_an_error_with_an_id(
    application: CompiledApplication, caplog: pytest.LogCaptureFixture
) -> None:
    batch = batch_of(application, TensorPlan("x", np.dtype(np.float32), 1, (), (), ()), [0])
    error = result_of(batch.members[0])
    assert isinstance(error, Internal)
    assert error.metadata["id"] in caplog.text
    assert error.metadata["id"] in error.message
