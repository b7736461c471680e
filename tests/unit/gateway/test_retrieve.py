"""Requests that search an index, in one batch: what each is given, what is kept from it."""

import asyncio
from dataclasses import replace
from typing import cast

import numpy as np
import pytest

from ann_index.entity_keys import IntegerKeys
from ann_index.exact_index import ExactIndex
from ann_index.faiss_index import FaissIndex
from ann_index.snapshot import Manifest, Snapshot
from ann_index.types import Metric
from feature_store.types import KeyField
from gateway.batch import Answer
from gateway.plan import CandidateKeys, IndexSearch, RetrieveStep
from registry.dtypes import DType
from runtime.offload import Estimate
from tests.support.compiled_application import CompiledApplication

COUNT = 5


@pytest.fixture
def searching(application: CompiledApplication) -> CompiledApplication:
    """The application with a pipeline that finds all of the keys 0 to 4 but for `profile.children`."""
    index = ExactIndex(np.arange(COUNT, dtype=np.float32)[:, np.newaxis], Metric.INNER_PRODUCT)
    search = IndexSearch(
        index="numbers",
        version="1",
        snapshot=Snapshot(cast(Manifest, None), cast(FaissIndex, index), IntegerKeys(np.arange(COUNT))),
        query_view="now",
        query=application.release.reader("now").gather_spec(["clicks"], [0]),
        k=10_000,
        exclude_view="profile",
        exclude="children",
    )
    step = RetrieveStep((search,), Estimate())
    key = KeyField("number", DType.parse("int64"))
    pipeline = replace(
        application.release.pipeline("no_rule"),
        retrieve=step,
        candidates=CandidateKeys("number", (key,), from_request=False),
    )
    application.release = replace(application.release, pipelines={"search": pipeline})
    return application


def found(answer: Answer) -> set[int]:
    return set(cast(np.ndarray[tuple[int], np.dtype[np.int64]], answer.entities[0].values).tolist())


async def test_only_a_feature_that_has_a_value_excludes_a_candidate(searching: CompiledApplication) -> None:
    await searching.write("profile", 1, age=30, income=2, children=0)
    await searching.write("profile", 2, age=30, income=2, children=None)
    await searching.write("profile", 4, age=30, income=2, children=3)
    answers = await asyncio.gather(*[searching.predict("search", user_id) for user_id in (1, 2, 3, 4)])
    everything = set(range(COUNT))
    assert [everything - found(answer) for answer in answers] == [{0}, set(), set(), {3}]


async def test_a_request_weighs_no_more_than_the_index_can_give_it(searching: CompiledApplication) -> None:
    await searching.write("profile", 1, age=30, income=2, children=0)
    answer = await searching.predict("search", 1)
    assert answer.member.row_count == COUNT
