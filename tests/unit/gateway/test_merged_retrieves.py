"""Candidates from several searches: each once, with its best score; who lacks a vector is told."""

import asyncio

import numpy as np
import pytest
from forebay.errors import NotUsable
from forebay.v1 import prediction_pb2 as pb

from ann_index.faiss_index import FaissIndex
from gateway.answer_wire import response_bytes
from tests.support.pipeline_application import PipelineApplication, ranked, scores, told


async def test_a_candidate_that_two_searches_find_comes_once_with_its_best_score(
    pipelines: PipelineApplication,
) -> None:
    await pipelines.write_rows("user_view", user_id=[1], taste=[[0.1, 0]], mood=[[0, 2]])
    answer = await pipelines.ask("merged_items", user_id=1)
    # By taste: 5 (0.5), 4 (0.4), 3 (0.3); by mood: 5 (1.0), 9 (0.71).
    assert ranked(answer) == [5, 9, 4, 3]
    np.testing.assert_allclose(scores(answer), [1.0, 0.5**0.5, 0.4, 0.3], rtol=1e-6)
    assert told(answer) == []


async def test_each_search_has_its_own_k_and_exclusions(pipelines: PipelineApplication) -> None:
    await pipelines.write_rows(
        "user_view", user_id=[1], taste=[[0.1, 0]], mood=[[0, 2]], seen=[[5, 3, 77]], hidden=[[9, 77]]
    )
    answer = await pipelines.ask("merged_items", user_id=1)
    # By taste without 5 and 3: 4, 2, 1; by mood without 9: 5, 2.
    assert ranked(answer) == [5, 4, 2, 1]


async def test_members_of_a_batch_are_searched_in_one_call_per_index(
    pipelines: PipelineApplication, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = [1, 2, 3, 4]
    tastes, moods = [[1, 0], [-1, 0], [1, 0], [-1, 0]], [[0, 1], [1, 0], [1, 1], [-1, 0]]
    await pipelines.write_rows("user_view", user_id=users, taste=tastes, mood=moods)
    alone = [ranked(await pipelines.ask("merged_items", user_id=user)) for user in users]
    calls: list[int] = []
    search = FaissIndex.search

    def counted(self: FaissIndex, *args: object) -> object:
        calls.append(len(args[0]))  # type: ignore[arg-type]
        return search(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(FaissIndex, "search", counted)
    together = await asyncio.gather(*[pipelines.ask("merged_items", user_id=user) for user in users])
    assert [ranked(answer) for answer in together] == alone
    assert sum(calls) == 2 * len(users)
    assert len(calls) < sum(calls)


async def test_a_missing_vector_leaves_the_other_searches(pipelines: PipelineApplication) -> None:
    await pipelines.write_rows(
        "user_view",
        user_id=[1, 2, 3, 4],
        taste=[[1, 0], None, [1, 0], None],
        mood=[[0, 1], [0, 1], [0, 0], None],  # a zero vector has no direction
    )
    answers = await asyncio.gather(
        *[pipelines.ask("merged_items", user_id=user) for user in (1, 2, 3, 4, 5)], return_exceptions=True
    )
    whole, without_taste, without_mood, null, absent = answers
    assert not isinstance(whole, BaseException)
    assert not isinstance(without_taste, BaseException)
    assert not isinstance(without_mood, BaseException)
    assert (ranked(whole), told(whole)) == ([5, 4, 3, 9], [])
    fallback = ("retrieve", "user_view", "NOT_FOUND", "FALLBACK", 1)
    assert ranked(without_taste) == [5, 9]
    assert fallback in told(without_taste)
    assert ranked(without_mood) == [5, 4, 3]
    assert fallback in told(without_mood)
    for refused in (null, absent):
        assert isinstance(refused, NotUsable)
        assert "view user_view has no vector to search index vectors and angles with" in refused.message


async def test_keys_that_are_text_are_merged_as_numbers_are(pipelines: PipelineApplication) -> None:
    await pipelines.write_rows("user_view", user_id=[1, 2], tune=[[0, 0], [5, 0]], hum=[[0, 1], [9, 9]])
    await pipelines.write_rows("user_view", user_id=[3], hum=[[0, 2]])
    answers = await asyncio.gather(*[pipelines.ask("merged_songs", user_id=user) for user in (1, 2, 3)])
    # 1 by tune: b:1 (0), a (-1); by hum: z and a (-1).
    # 2 by tune: c (0), a (-4); by hum: b:1 (0), a (-11.4).
    assert [ranked(answer) for answer in answers] == [["b:1", "a", "z"], ["b:1", "c", "a"], ["a", "z"]]
    np.testing.assert_allclose(scores(answers[1]), [0, 0, -4], atol=1e-6)


async def test_provenance_names_all_indexes_in_the_files_order(pipelines: PipelineApplication) -> None:
    await pipelines.write_rows("user_view", user_id=[1], taste=[[1, 0]], mood=[[0, 1]])
    answer = response_bytes(await pipelines.ask("merged_items", user_id=1))
    provenance = pb.PredictResponse.FromString(answer).provenance
    assert (provenance.index, provenance.index_version) == ("vectors,angles", "1,1")


async def test_a_request_weighs_what_its_searches_can_find(pipelines: PipelineApplication) -> None:
    await pipelines.write_rows("user_view", user_id=[1], taste=[[1, 0]], mood=[[0, 1]])
    assert (await pipelines.ask("merged_items", user_id=1)).member.row_count == 5
