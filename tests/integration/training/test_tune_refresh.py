"""`forebay tune refresh` finds the longest interval that keeps a real model good enough, on real ratings."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import onnx
import pytest
from forebay.errors import InvalidRequest, NotFound, NotUsable

from jobs.progress import unheard
from jobs.training.labels import LabelOptions
from jobs.tuning.options import Threshold, TuneOptions, parse_intervals
from jobs.tuning.tune_refresh import Tuned, TuneRefresh
from registry.registry import Registry
from runtime.clock import ManualClock
from runtime.engine_settings import OnnxSettings
from tests.integration.training.conftest import NOW_US
from tests.support.ratings_application import APPLICATION, write_application
from tests.support.tiny_models import linear

PIPELINE = """
models:
  liked:
    repository: models
    inputs: {x: [user_ratings.mean_rating, movie_ratings.mean_rating, movie_ratings.rating_count]}
    outputs: {score: score}
pipelines:
  will_like:
    entities: [user, movie]
    hydrate: [user_ratings, movie_ratings]
    predict: liked
    degrade: {hydrate: {user_ratings: stale}}
"""
LABELS = """
select user_id, movie_id, rating, rating >= 4 as liked, rated_at - interval 1 second as event_time
from ratings where user_id <= 15
"""


async def tuned(history: Any, view: str, **options: Any) -> Tuned:
    labels = LabelOptions(options.pop("labels", LABELS), "event_time", allow_repeated=True)
    chosen = {"outcome": "liked", "draws": 50, **options}
    registry = Registry(history.connection, history.app, ManualClock(now_us=NOW_US))
    job = TuneRefresh(registry, ManualClock(now_us=NOW_US), unheard, OnnxSettings())
    return await job.run(TuneOptions(view, "will_like", labels, **chosen))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("ratings")
    write_application(directory, users=30)
    return directory


@pytest.fixture
async def liking(history: Any, data: Path) -> Any:
    shutil.copy(data / "ratings.parquet", history.root)
    model = Path(history.root / "models/liked/1/model.onnx")
    model.parent.mkdir(parents=True)
    onnx.save(linear({"x": [0.5, 0.5, 0.01]}), model)
    await history.apply(APPLICATION + PIPELINE)
    return history


async def test_interval_is_lengthened_while_it_is_good_enough_and_stepped_back(liking: Any) -> None:
    intervals_us = parse_intervals("1s,10s,1h,1d,30d")
    found = await tuned(liking, "user_ratings", intervals_us=intervals_us, threshold=Threshold(lost=0.03))
    freshest, *tried = found.steps
    assert freshest.every_us is None
    assert 0.6 < freshest.metric.low < freshest.metric.value < freshest.metric.high < 0.9
    assert [step.every_us for step in tried] == list(intervals_us[: len(tried)])
    assert all(step.is_good_enough for step in tried[:-1])
    assert not tried[-1].is_good_enough
    assert found.chosen_us == tried[-2].every_us
    assert tried[-1].metric.value < freshest.metric.value
    assert tried[-1].found < freshest.found
    assert found.version == "1"
    assert await liking.connection.execute("KEYS", "f{*") == []


async def test_longest_interval_is_chosen_with_a_remark_when_all_are_good_enough(liking: Any) -> None:
    found = await tuned(
        liking, "movie_ratings", intervals_us=parse_intervals("1h,1d"), threshold=Threshold(lost=0.5)
    )
    assert found.chosen_us == 86_400_000_000
    assert "try longer ones" in found.remarks[0]


async def test_none_is_chosen_when_even_the_freshest_is_below_an_absolute_threshold(liking: Any) -> None:
    one = {"intervals_us": parse_intervals("1s"), "outcome": "rating", "group": "user_id"}
    found = await tuned(liking, "user_ratings", metric="ndcg", threshold=Threshold(absolute=1.1), **one)
    assert found.chosen_us is None
    assert 0.5 < found.steps[0].metric.value < 1


async def test_what_can_not_be_tuned_is_refused(liking: Any) -> None:
    with pytest.raises(
        NotFound, match="takes nothing of view movie; it takes of user_ratings, movie_ratings"
    ):
        await tuned(liking, "movie")
    with pytest.raises(InvalidRequest, match="no column clicked; they have user_id"):
        await tuned(liking, "user_ratings", outcome="clicked")
    with pytest.raises(InvalidRequest, match="auc needs outcomes that are 0 or 1"):
        await tuned(liking, "user_ratings", outcome="rating")
    with pytest.raises(NotFound, match="has no score best; it has score"):
        await tuned(liking, "user_ratings", score="best")
    with pytest.raises(InvalidRequest, match="no refresh to tune: it is taken as it is"):
        await tuned(liking, "user_ratings", as_is=frozenset({"user_ratings"}))
    shutil.rmtree(liking.root / "models")
    with pytest.raises((NotFound, NotUsable), match="liked"):
        await tuned(liking, "user_ratings")
