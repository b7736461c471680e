"""Plans and releases as values: their records, their differences, their drafts."""

from __future__ import annotations

import pytest

from registry.plan import Change, Plan, PlanIds, SchemaVersion, diff
from registry.precomputed import PrecomputedFor, PrecomputedPart, PrecomputedRelease
from registry.release import Release
from tests.support.application_texts import application, changed

IDS = PlanIds(
    entities={"user": 1},
    views={"user_taste": 7},
    schemas={"user_taste": (SchemaVersion(1, (("mean_rating", "float32"),)),)},
    keys={"user": (("user_id", "int64"),)},
    view_entities={"user_taste": "user"},
)
PRECOMPUTED = PrecomputedRelease(
    version=2,
    as_of_us=1_700_000_000_000_000,
    made_by=3,
    count=40,
    entity_count=10,
    top=10,
    key=(PrecomputedPart("user_id"), PrecomputedPart("hour", 6.0), PrecomputedPart("device", fixed="phone")),
    features=("movie_profile.title",),
    inputs={"user_id": "int64", "hour": "float32", "device": "string"},
    columns={"movie_id": "int64", "score": "float32"},
    made_for=PrecomputedFor("select user_id from users", 10, ("hour=0,6,12,18",), ("hour=6",)),
    batch="b7",
)
PLAN = Plan(3, "movies", application(), "/apps/movies", IDS)


def test_plan_comes_back_from_its_record() -> None:
    assert Plan.from_json(PLAN.to_json()) == PLAN


def test_release_comes_back_from_its_record() -> None:
    release = (
        Release(4, "movies", 3)
        .with_view("user_taste", 2, 1_700_000_000_000_000, "b1")
        .with_index("movies", "5")
        .with_model("ranker", "1")
        .with_precomputed("movies_for_user", PRECOMPUTED)
    )

    assert Release.from_json(release.to_json()) == release


def test_release_of_an_older_version_is_read_when_it_says_nothing_of_precomputed() -> None:
    release = Release(4, "movies", 3).with_model("ranker", "1")
    older = release.to_json().replace('"precomputed":{},', "")
    assert older != release.to_json()
    assert Release.from_json(older) == release


def test_precomputed_answers_belong_to_a_release_while_their_pipeline_is_in_its_plan() -> None:
    release = Release(4, "movies", 3)
    draft = release.with_precomputed("movies_for_user", PRECOMPUTED).with_precomputed("gone", PRECOMPUTED)
    assert not draft.says_the_same(release)
    assert draft.strangers(PLAN) == ["precomputed.gone"]
    assert set(draft.with_plan(PLAN).precomputed) == {"movies_for_user"}
    assert draft.without_precomputed("gone").without_precomputed("movies_for_user").says_the_same(release)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"number": "x"}'])
def test_value_error_is_raised_when_a_record_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="validation error"):
        Plan.from_json(text)
    with pytest.raises(ValueError, match="validation error"):
        Release.from_json(text)


def test_changes_are_told_by_entry_and_by_value() -> None:
    text = changed("top: 10", "top: 5")
    text = changed("indexes:\n  movies:", "indexes:\n  films:", text)
    text = changed("index: movies,", "index: films,", text)

    found = diff(PLAN, application(text))

    kinds = [(change.kind, change.path) for change in found]
    assert kinds == [
        ("remove", "indexes.movies"),
        ("add", "indexes.films"),
        ("change", "pipelines.movies_for_user.retrieve.index"),
        ("change", "pipelines.movies_for_user.select.top"),
    ]
    assert found[-2].detail == "movies -> films"
    assert found[-1].detail == "10 -> 5"


def test_a_change_in_a_view_to_hydrate_is_told_by_its_value() -> None:
    text = changed("{view: movie_profile, required: true}", "{view: movie_profile, required: false}")

    [change] = diff(PLAN, application(text))

    assert change.path == "pipelines.movies_for_user.hydrate_candidates.required"
    assert change.detail == "True -> False"


def test_what_an_entry_leaves_out_is_not_told() -> None:
    [view] = [change for change in diff(None, application()) if change.path == "views.user_taste"]

    assert view.detail == "entity, batch, max_age, features"


def test_everything_is_added_when_there_is_no_plan() -> None:
    changes = diff(None, application())

    assert Change("add", "app", "movies") in changes
    assert {change.kind for change in changes} == {"add"}
    assert "views.user_taste" in {change.path for change in changes}


def test_drafts_leave_their_release_as_it_is() -> None:
    release = Release(1, "movies", 3).with_view("user_taste", 1)

    draft = release.with_view("user_taste", 2).with_model("ranker", "2").without_model("ranker")

    assert release.views["user_taste"].generation == 1
    assert draft.views["user_taste"].generation == 2
    assert draft.models == {}
    assert draft.without_view("user_taste").views == {}
    assert draft.with_index("movies", "1").without_index("movies").indexes == {}


def test_entries_are_dropped_when_the_plan_lacks_their_names() -> None:
    release = Release(1, "movies", 1).with_view("gone", 1).with_view("user_taste", 1).with_index("lost", "1")

    draft = release.with_plan(PLAN)

    assert set(draft.views) == {"user_taste"}
    assert draft.indexes == {}
    assert draft.plan == 3
    assert release.strangers(PLAN) == ["views.gone", "indexes.lost"]
    assert draft.strangers(PLAN) == []


def test_release_says_the_same_when_only_its_number_differs() -> None:
    release = Release(1, "movies", 1).with_view("a", 1)

    assert release.numbered(9, at_us=5, who="ann", why="x").says_the_same(release)
    assert not release.with_view("a", 1, as_of_us=2).says_the_same(release)
