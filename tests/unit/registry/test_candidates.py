"""Whose keys candidates are, and which views may be read for them."""

from __future__ import annotations

from registry.application_file import check_application
from registry.candidates import candidate_entity
from registry.definitions import Application


def application(entities: list[str], *views: str, source: dict[str, object] | None = None) -> Application:
    """A pipeline over views named after their entities."""
    keys = {
        "user": {"user_id": "int64"},
        "movie": {"movie_id": "int64"},
        "affinity": {"user_id": "int64", "movie_id": "int64"},
        "shop": {"shop_id": "string"},
    }
    return Application.from_file_form(
        {
            "app": "a",
            "entities": {name: {"key": key} for name, key in keys.items()},
            "views": {f"v_{name}": {"entity": name, "features": {"x": "float32"}} for name in keys},
            "models": {"m": {"repository": "r", "inputs": {"x": ["request.y"]}, "outputs": {"s": "s"}}},
            "pipelines": {
                "p": {
                    "entities": entities,
                    "request": {"y": "float32"},
                    "hydrate_candidates": [f"v_{view}" for view in views],
                    "predict": "m",
                    **({"candidates": "request"} if source is None else source),
                }
            },
        }
    )


def messages(application: Application) -> list[str]:
    return [problem.message for problem in check_application(application)]


def entity_of(application: Application) -> str | None:
    return candidate_entity(application, application.pipelines["p"])


def test_entity_is_that_of_the_views_when_candidates_come_from_the_request() -> None:
    assert entity_of(application(["user"], "movie")) == "movie"
    assert messages(application(["user"], "movie")) == []


def test_composite_key_is_covered_when_request_and_candidate_give_its_fields() -> None:
    mixed = application(["user"], "affinity", "movie")

    assert entity_of(mixed) == "movie"
    assert messages(mixed) == []


def test_candidates_are_of_the_composite_entity_when_only_it_is_read() -> None:
    alone = application(["shop"], "affinity")

    assert entity_of(alone) == "affinity"
    assert messages(alone) == []


def test_pipeline_is_refused_when_nothing_tells_whose_candidates_they_are() -> None:
    assert "nothing tells whose keys the candidates are" in messages(application(["user"]))[0]
    assert (
        "nothing tells whose keys the candidates are" in messages(application(["user"], "movie", "shop"))[0]
    )


def test_view_is_refused_when_the_request_alone_gives_its_key() -> None:
    [message] = messages(application(["user", "shop"], "movie", "shop"))

    assert message == "view 'v_shop' is of entity 'shop', not of the candidates: hydrate it"


def test_pipeline_is_refused_when_it_reads_candidates_it_does_not_have() -> None:
    [message] = messages(application(["user"], "movie", source={}))

    assert message == "there are no candidates: add retrieve, or candidates: request"
