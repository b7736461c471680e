"""When a pipeline's precomputed answers still are its answers: by what it takes, gives and declares to do."""

from __future__ import annotations

import pytest

from registry.definitions import Application
from registry.precomputed import (
    PrecomputedPart,
    PrecomputedRelease,
    column_types,
    input_types,
    precomputed_gap,
    steps_digest,
)
from tests.support.application_texts import application, changed

NAME = "movies_for_user"


def entry_of(made_by: Application) -> PrecomputedRelease:
    pipeline = made_by.pipelines[NAME]
    return PrecomputedRelease(
        version=1,
        as_of_us=1,
        made_by=1,
        count=1,
        entity_count=1,
        top=10,
        key=(PrecomputedPart("user_id"),),
        inputs=input_types(made_by, pipeline),
        columns=column_types(made_by, pipeline),
        steps=steps_digest(pipeline),
    )


def test_there_is_no_gap_when_nothing_has_changed() -> None:
    made_by = application()
    entry = entry_of(made_by)
    assert entry.inputs == {"user_id": "int64", "hour": "float32"}
    assert entry.columns == {"movie_id": "int64", "score": "float32"}
    assert precomputed_gap(made_by, NAME, entry) == ""


def test_gap_is_told_when_nothing_is_precomputed() -> None:
    assert "run `forebay precompute movies_for_user --by SQL`" in precomputed_gap(application(), NAME, None)
    off = application(changed("precomputed: fallback", "precomputed: off"))
    assert precomputed_gap(off, NAME, None) == ""


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("hour: {dtype: float32", "hour: {dtype: int32", "its inputs were user_id (int64), hour (float32)"),
        (
            "outputs: {score: probability}",
            "outputs: {liking: probability}",
            "its answers were movie_id (int64)",
        ),
        ("k: 100", "k: 50", "declared differently"),
        (", exclude: user_taste.seen}", "}", "declared differently"),
        ("default: 12", "default: 18", "declared differently"),
    ],
)
def test_gap_is_told_when_the_pipeline_has_changed_since(old: str, new: str, says: str) -> None:
    text = changed(old, new)
    if "liking" in new:
        text = changed("by: score", "by: liking", text)
    assert says in precomputed_gap(application(text), NAME, entry_of(application()))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("top: 10", "top: 20"),
        ("total: 25ms", "total: 50ms"),
        ("fresh: 5s", "fresh: 6s"),
        ("{user_taste: stale}", "{user_taste: defaults}"),
        ("precomputed: fallback", "precomputed: {mode: first, max_age: 1d}"),
    ],
)
def test_there_is_no_gap_when_only_time_failure_or_repetition_is_declared_differently(
    old: str, new: str
) -> None:
    assert precomputed_gap(application(changed(old, new)), NAME, entry_of(application())) == ""
