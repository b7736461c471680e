"""What one read of features may ask for, and how it is written."""

from dataclasses import replace

import numpy as np
import pytest
from forebay.deadline import NEVER
from forebay.errors import InvalidRequest
from forebay.v1 import features_pb2 as pb

from gateway.features import MAX_VALUES, FeatureReads
from gateway.read_form import ReadWriter
from tests.support.compiled_application import HOUR_US, CompiledApplication


async def test_a_read_is_refused_when_rows_times_features_are_too_many(
    application: CompiledApplication,
) -> None:
    reads = FeatureReads(application.store, application.clock)
    plan = reads.plan(application.release, ["now.clicks"] * 1_000)
    user_ids = np.arange(MAX_VALUES // 1_000 + 1)
    with pytest.raises(InvalidRequest, match=f"more than the {MAX_VALUES}") as caught:
        await reads.read(plan, {"user_id": user_ids}, NEVER)
    assert caught.value.field == "keys"
    blocks = await reads.read(plan, {"user_id": user_ids[:-1]}, NEVER)
    assert sum(len(run.wanted) for run in plan.runs) == 1_000
    assert len(blocks["now"]) == len(user_ids) - 1


async def test_reads_say_the_same_when_one_writer_writes_them_all(application: CompiledApplication) -> None:
    now_us = application.clock.now_us()
    await application.write("profile", 1, age=30, income=1.0, children=2)
    await application.write("now", 1, clicks=5.0)
    await application.write("now", 2, clicks=7.0, written_us=now_us - 10 * HOUR_US)
    reads, writer = FeatureReads(application.store, application.clock), ReadWriter()
    for references in (["profile.age", "now.clicks"], ["now.clicks"], ["profile.age", "now.clicks"]):
        for user_ids in ([1], [1, 2, 404], [404], [1, 1]):
            plan = reads.plan(application.release, references)
            blocks = await reads.read(plan, {"user_id": np.array(user_ids)}, NEVER)
            assert writer.bytes(plan, blocks, False) == ReadWriter().bytes(plan, blocks, False)
            timed = pb.ReadFeaturesResponse.FromString(writer.bytes(plan, blocks, True))
            for column in timed.columns:
                column.ClearField("event_times_us")
            assert timed == pb.ReadFeaturesResponse.FromString(writer.bytes(plan, blocks, False))


def test_a_list_of_features_is_planned_once_for_a_release(application: CompiledApplication) -> None:
    reads = FeatureReads(application.store, application.clock)
    plan = reads.plan(application.release, ["now.clicks"])
    another = replace(application.release, readers=dict(application.release.readers))
    assert reads.plan(application.release, ["now.clicks"]) is plan
    assert reads.plan(another, ["now.clicks"]) is not plan
