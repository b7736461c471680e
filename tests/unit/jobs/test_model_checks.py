"""Models before they are applied: the version that will be live, its file, and what it takes and gives."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.model_checks import check_models, initial_versions
from registry.application_file import load_application_file
from registry.problems import Problem
from tests.support.tiny_models import linear, published

FILE = """\
app: shop
entities:
  user: {key: {user_id: int64}}
views:
  profile: {entity: user, features: {age: float32, taste: "float32[3]"}}
models:
  risk:
    repository: models
    inputs: {x: [profile.age, profile.taste, request.amount]}
    outputs: {score: score}
pipelines:
  risk_of_user:
    entities: [user]
    request: {amount: float32}
    hydrate: [profile]
    predict: risk
  risk_again:
    entities: [user]
    request: {amount: float32}
    hydrate: [profile]
    predict: risk
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "app.yaml"
    path.write_text(FILE)
    return path


def add_version(file: Path, version: int, *, width: int = 5, output: str = "score") -> None:
    published(file.parent / "models", "risk", version, linear({"x": [1.0] * width}, output=output))


def found(file: Path, **live: str) -> list[Problem]:
    loaded = load_application_file(file)
    scope = loaded.scope()
    check_models(scope, loaded.root, initial_versions(loaded.application, loaded.root) | live)
    assert all(problem.severity == "warning" for problem in scope.problems)
    return scope.problems


def test_nothing_is_reported_when_the_newest_version_fits(file: Path) -> None:
    add_version(file, 1, width=7)
    add_version(file, 2)
    assert found(file) == []


def test_difference_is_reported_once_when_two_pipelines_use_the_model(file: Path) -> None:
    add_version(file, 1, width=4)
    [problem] = found(file)
    assert (problem.path, problem.line) == ("models.risk", 7)
    assert problem.message.startswith("model risk version 1 doesn't fit its declaration: its input is")
    assert "5" in problem.message


def test_output_is_checked_as_well(file: Path) -> None:
    add_version(file, 1, output="other")
    [problem] = found(file)
    assert "it has no output score for the score score (it has other)" in problem.message


def test_live_version_is_the_one_that_is_checked(file: Path) -> None:
    add_version(file, 1, width=4)
    add_version(file, 2)
    [problem] = found(file, risk="1")
    assert "model risk version 1 doesn't fit" in problem.message


def test_place_is_told_when_there_is_no_version(file: Path) -> None:
    [problem] = found(file)
    assert (problem.path, problem.message) == (
        "models.risk",
        "has no version in its repository: put one at models/risk/1/model.onnx, then apply again",
    )


def test_what_to_do_is_told_when_the_champion_is_missing(file: Path) -> None:
    file.write_text(
        FILE.replace("outputs: {score: score}", "outputs: {score: score}\n    traffic: {champion: 9}")
    )
    [problem] = found(file)
    assert problem.path == "models.risk.traffic.champion"
    assert problem.message.startswith(
        "version 9 is not in its repository (none is there): put it at models/risk/9/model.onnx"
    )
    add_version(file, 2)
    [problem] = found(file)
    assert "(there: 2)" in problem.message
    assert "--set-traffic" in problem.message
    assert "risk_of_user, risk_again" in problem.message


def test_file_that_is_no_model_is_reported(file: Path) -> None:
    path = file.parent / "models" / "risk" / "1" / "model.onnx"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"nonsense")
    [problem] = found(file)
    assert "model risk version 1" in problem.message
