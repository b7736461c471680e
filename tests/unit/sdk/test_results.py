"""Answers and tables as views on columns."""

from __future__ import annotations

from collections.abc import Mapping

import forebay
import pytest
from forebay import _pack, _requests
from forebay.types import Degradation, StageTiming, Status
from forebay.v1 import features_pb2, values_pb2
from forebay.v1 import prediction_pb2 as pb


def response() -> pb.PredictResponse:
    title = _pack.column("movie_profile.title", ["Heat", None], None, "t")
    return pb.PredictResponse(
        entities=[_pack.column("movie_id", [3, 1], None, "e")],
        scores=[_pack.column("score", [0.9, 0.5], None, "s")],
        features=[title],
        degradations=[
            pb.Degradation(stage="hydrate", subject="v", reason="STALE", action="STALE_ROW", count=2)
        ],
        provenance=pb.Provenance(
            release=7,
            model="ranker",
            cache=pb.CACHE_OUTCOME_HIT,
            stages=[pb.StageTiming(stage="hydrate", start_us=1, duration_us=2, given_us=3)],
        ),
    )


def test_items_are_in_rank_order() -> None:
    answer = _requests.answer(response())
    assert len(answer) == 2
    assert [item.entity["movie_id"] for item in answer] == [3, 1]
    assert [item.scores["score"] for item in answer] == [0.9, 0.5]
    assert type(answer[0].entity["movie_id"]) is int
    assert answer[-1].entity == {"movie_id": 1}
    assert [item.entity["movie_id"] for item in answer[1:]] == [1]
    assert isinstance(answer[0].entity, Mapping)
    with pytest.raises(IndexError):
        answer[2]


def test_returned_feature_is_none_when_it_is_absent() -> None:
    first, second = _requests.answer(response())
    assert (first.features["movie_profile.title"], second.features["movie_profile.title"]) == ("Heat", None)
    assert second.status("movie_profile.title") is Status.NULL
    with pytest.raises(KeyError, match=r"movie_profile\.title"):
        first.features["movie_profile.year"]


def test_answer_tells_what_made_it() -> None:
    answer = _requests.answer(response())
    assert answer.degradations == [Degradation("hydrate", "v", "STALE", "STALE_ROW", 2)]
    assert answer.provenance.release == 7
    assert answer.provenance.cache == "HIT"
    assert answer.provenance.stages == (StageTiming("hydrate", 1, 2, 3),)
    assert _requests.answer(pb.PredictResponse()).provenance.cache == ""
    assert len(_requests.answer(pb.PredictResponse())) == 0
    assert "movie_id" in repr(answer)


def test_table_has_values_statuses_and_times_by_feature() -> None:
    column = values_pb2.Column(
        name="movie_profile.year",
        values=_pack.tensor([1995.0, 0.0], None, "y"),
        statuses=bytes([Status.STALE, Status.NOT_FOUND]),
        event_times_us=_pack.tensor([1_700_000_000_000_000, 0], None, "t"),
    )
    table = _requests.feature_table(
        features_pb2.ReadFeaturesResponse(columns=[column]), features_pb2.ReadFeaturesRequest()
    )
    assert table.names == ["movie_profile.year"]
    assert len(table) == 2
    assert table.values("movie_profile.year")[0] == 1995.0
    assert table.statuses("movie_profile.year").tolist() == [Status.STALE, Status.NOT_FOUND]
    times = table.event_times("movie_profile.year")
    assert times[0].astype("int64") == 1_700_000_000_000_000
    assert str(times[1]) == "NaT"
    with pytest.raises(KeyError, match=r"movie_profile\.year"):
        table.values("movie_profile.yaer")


def test_public_names_are_pinned() -> None:
    assert forebay.__all__ == [
        "Answer", "Client", "Conflict", "Corrupt", "Counts", "DeadlineExceeded", "Degradation", "Denied",
        "Error", "FeatureTable", "Internal", "InvalidRequest", "Item", "NotFound", "NotUsable", "Outcome",
        "Outcomes", "Overloaded", "Pending", "PredictStream", "Provenance", "Retry", "StageTiming", "Status",
        "Unauthenticated", "Unavailable", "Unimplemented", "WriteProblem", "aio",
    ]  # fmt: skip
    assert all(hasattr(forebay, name) for name in forebay.__all__)
