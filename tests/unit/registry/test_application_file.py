"""Whole application files: the contract's example, ten mistakes at once, and what is refused or noted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from registry.application_file import (
    json_schema,
    load_application,
    load_application_file,
    parse_application,
)
from registry.definitions import Application
from registry.document import read_document
from registry.problems import ApplicationFileError
from registry.shape import read_shape
from tests.support.application_texts import FILES, MOVIES, application, changed, problems


def test_application_has_every_construct_when_file_is_the_contracts() -> None:
    shape = read_shape(read_document((FILES / "contract.yaml").read_bytes()))

    assert shape is not None
    assert not shape.broken
    assert not shape.document.problems
    app = shape.application
    pipeline = app.pipelines["movies_for_user"]
    assert str(app.views["movie_profile"].features["genres"].dtype) == "float32[19]"
    assert app.views["movie_profile"].max_age_us == 30 * 86_400_000_000
    assert app.views["movie_profile"].publish == "swap"
    assert app.views["movie_trend"].windows["ratings_7d"].aggregates == {"count": "rating"}
    assert app.models["ranker"].inputs["x"].columns[-1] == "retrieve.score"
    assert pipeline.retrieve[0].exclude == "user_taste.seen"
    assert [(step.view, step.required) for step in pipeline.hydrate_candidates] == [
        ("movie_profile", True),
        ("movie_trend", False),
    ]
    assert pipeline.budget.total_us == 25_000
    assert pipeline.budget.stages_us["predict"] == 10_000
    assert pipeline.degrade.predict[:2] == ("precomputed", "stale_answer")
    assert pipeline.cache is not None
    assert pipeline.cache.stale_us == 60_000_000
    assert app.space_members("taste") == (("movie_profile", "user_taste"), ("movies",))


def test_nothing_is_refused_when_file_is_the_contracts() -> None:
    assert problems((FILES / "contract.yaml").read_text()) == []


def test_file_form_parses_to_the_same_application() -> None:
    shape = read_shape(read_document((FILES / "contract.yaml").read_bytes()))

    assert shape is not None
    form = json.loads(json.dumps(shape.application.file_form()))
    assert Application.from_file_form(form) == shape.application


def test_all_mistakes_are_reported_with_their_lines_when_there_are_ten() -> None:
    with pytest.raises(ApplicationFileError) as error:
        load_application(FILES / "ten_mistakes.yaml")

    assert [(problem.line, problem.path) for problem in error.value.problems] == [
        (4, "entities.movie.key.movie_id"),
        (10, "views.movie_profile.batch.publish"),
        (10, "views.movie_profile.batch.source"),
        (11, "views.movie_profile.max_age"),
        (13, "views.movie_profile.features.year"),
        (14, "views.movie_profile.features.mean_rating.default"),
        (18, "views.user_taste.colour"),
        (31, "pipelines.movies_for_user.retrieve.query"),
        (33, "pipelines.movies_for_user.predict"),
        (34, "pipelines.movies_for_user.select.top"),
    ]
    text = str(error.value)
    assert "has 10 mistakes" in text
    assert "did you mean 'movies'?" in text
    assert "user_taste.embedding is float32[16]; index 'movies' holds float32[32]" in text


def test_root_is_given_and_no_warning_when_file_is_right(tmp_path: Path) -> None:
    path = tmp_path / "app.yaml"
    path.write_text(MOVIES)

    loaded = load_application_file(path)

    assert loaded.application == application()
    assert loaded.root == tmp_path.resolve()
    assert loaded.warnings == ()


def test_lines_are_of_the_items_when_lists_are_spread_over_lines() -> None:
    text = changed(
        "    hydrate_candidates: [{view: movie_profile, required: true}]\n",
        "    hydrate_candidates:\n      - {vew: movie_profile}\n      - movie_profil\n",
    )
    start = text[: text.index("      - {vew")].count("\n") + 1

    found = [(problem.line - start, problem.path, problem.message) for problem in problems(text)]

    place = "pipelines.movies_for_user.hydrate_candidates"
    assert found == [
        (0, f"{place}.0.vew", "unknown key 'vew': did you mean 'view'?"),
        (0, f"{place}.0.view", "is required"),
        (1, f"{place}.1", "unknown view 'movie_profil': did you mean 'movie_profile'?"),
    ]


def test_one_mistake_is_reported_once_when_much_refers_to_it() -> None:
    text = changed(
        'embedding: {dtype: "float32[32]", space: taste}\n      title', "embedding: 3\n      title"
    )

    assert [problem.path for problem in problems(text)] == ["views.movie_profile.features.embedding"]


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        ("      year: float32\n", "      year:\n", "views.movie_profile.features.year"),
        ("predict: ranker\n", "predict:\n", "pipelines.movies_for_user.predict"),
        ("app: movies\n", "app:\n", "app"),
    ],
)
def test_key_is_named_when_it_has_no_value(old: str, new: str, path: str) -> None:
    found = problems(changed(old, new))

    assert [problem.path for problem in found] == [path]
    assert found[0].message == "has no value: give it one or remove it"


def test_schema_knows_short_and_long_spellings() -> None:
    schema = json_schema()

    [kinds] = schema["$defs"]["View"]["properties"]["features"]["patternProperties"].values()
    assert {"type": "string"} in kinds["anyOf"]
    assert schema["properties"]["app"]["pattern"]
    assert "max_age" in schema["$defs"]["View"]["properties"]


def test_error_text_is_bounded_when_mistakes_are_many() -> None:
    text = "app: x\n" + "".join(f"wrong_{number}: 1\n" for number in range(500))

    with pytest.raises(ApplicationFileError) as error:
        parse_application(text.encode())

    assert len(error.value.problems) == 500
    assert str(error.value).endswith("and 450 more")


@pytest.mark.parametrize(
    ("written", "mode", "max_age_us", "kept"),
    [
        ("first", "first", 7 * 24 * 3_600_000_000, "first"),
        ("off", "off", 7 * 24 * 3_600_000_000, "off"),
        ("{mode: first, max_age: 7d}", "first", 7 * 24 * 3_600_000_000, "first"),
        (
            "{mode: fallback, max_age: 36h}",
            "fallback",
            36 * 3_600_000_000,
            {"mode": "fallback", "max_age": "36h"},
        ),
    ],
)
def test_precomputed_is_a_mode_or_a_mode_and_an_age(
    written: str, mode: str, max_age_us: int, kept: object
) -> None:
    found = application(changed("precomputed: fallback", f"precomputed: {written}"))
    precomputed = found.pipelines["movies_for_user"].precomputed
    assert (precomputed.mode, precomputed.max_age_us) == (mode, max_age_us)
    assert found.file_form()["pipelines"]["movies_for_user"]["precomputed"] == kept
    assert Application.from_file_form(found.file_form()) == found


@pytest.mark.parametrize(
    ("old", "new", "path", "message"),
    [
        ("precomputed: fallback", "precomputed: off", "degrade.predict.0", "say `precomputed: fallback`"),
        ("[precomputed, ", "[", "precomputed", "unless degrade.predict lists precomputed"),
    ],
)
def test_warning_is_given_when_precomputed_answers_could_never_be_used(
    tmp_path: Path, old: str, new: str, path: str, message: str
) -> None:
    file = tmp_path / "app.yaml"
    file.write_text(changed(old, new))
    found = [warning for warning in load_application_file(file).warnings if "precomputed" in warning.message]
    [warning] = [one for one in found if one.path == f"pipelines.movies_for_user.{path}"]
    assert message in warning.message
