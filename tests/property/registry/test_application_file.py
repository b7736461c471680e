"""Whatever an application file holds, it is either an application or a list of mistakes with their lines."""

from __future__ import annotations

import copy
import json
from contextlib import suppress
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from registry.application_file import check_application, parse_application
from registry.constants import mismatch
from registry.definitions import Application
from registry.document import read_document
from registry.dtypes import DType, Scalar
from registry.durations import MAX_DURATION_US, format_duration, parse_duration_us
from registry.plan import Plan, PlanIds, diff
from registry.problems import ApplicationFileError, Problem
from registry.shape import read_shape
from tests.support.application_texts import FILES, application
from tests.support.examples import examples

SHAPE = read_shape(read_document((FILES / "contract.yaml").read_bytes()))
assert SHAPE is not None
FORM: dict[str, Any] = SHAPE.application.file_form()
WORDS = [
    "user",
    "movie",
    "movies",
    "user_taste.embedding",
    "fail",
    "float32",
    "int64[]",
    "7d",
    "request.hour",
    "x",
]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(WORDS)
    | st.text("ab./-1 _", max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=3),
    max_leaves=4,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of everything below `value`."""
    children = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    return [path, *(inner for key, child in children for inner in places(child, (*path, key)))]


PLACES = [path for path in places(FORM) if path]


def put(form: Any, path: tuple[Any, ...], value: Any) -> None:
    """Put `value` at `path`, unless an earlier change took that place away."""
    with suppress(KeyError, IndexError, TypeError):
        for key in path[:-1]:
            form = form[key]
        form[path[-1]] = value


def mistakes(content: bytes) -> list[Problem]:
    """Return what is wrong with a file; none, if it is right. Nothing else than mistakes may be raised."""
    try:
        parse_application(content)
    except ApplicationFileError as error:
        return error.problems or [Problem("", 0, "")]
    return []


@settings(max_examples=examples(200), deadline=None)
@given(st.lists(st.tuples(st.sampled_from(PLACES), VALUES), min_size=1, max_size=6))
def test_mistakes_have_places_when_a_file_is_changed_anywhere(
    changes: list[tuple[tuple[Any, ...], Any]],
) -> None:
    form = copy.deepcopy(FORM)
    for path, value in changes:
        put(form, path, value)
    text = json.dumps(form, indent=1).encode()
    lines = text.count(b"\n") + 1
    assert all(1 <= problem.line <= lines and problem.message for problem in mistakes(text))


@settings(max_examples=examples(200), deadline=None)
@given(st.binary(max_size=200) | st.text(alphabet="ab: -{}[]&*!|>'\"\n\t#,?%@~", max_size=60).map(str.encode))
def test_mistakes_have_places_when_a_file_is_noise(content: bytes) -> None:
    assert all(problem.line >= 1 for problem in mistakes(content))


@settings(max_examples=examples(100), deadline=None)
@given(st.tuples(st.sampled_from(PLACES), VALUES))
def test_checks_without_a_file_find_the_same(change: tuple[tuple[Any, ...], Any]) -> None:
    form = copy.deepcopy(FORM)
    put(form, *change)
    shape = read_shape(read_document(json.dumps(form).encode()))
    if shape is None or shape.broken or shape.document.problems:
        return
    with_file = {problem.message for problem in check_application(shape.application, shape)}
    assert with_file == {problem.message for problem in check_application(shape.application)}
    assert Application.from_file_form(shape.application.file_form()) == shape.application


@given(st.integers(1, MAX_DURATION_US))
def test_duration_comes_back_when_it_is_written(duration_us: int) -> None:
    assert parse_duration_us(format_duration(duration_us)) == duration_us


@settings(deadline=None)
@given(st.tuples(st.sampled_from(PLACES), VALUES))
def test_diff_is_empty_only_when_nothing_differs(change: tuple[tuple[Any, ...], Any]) -> None:
    plan = Plan(1, "movies", application(), "/a", PlanIds())
    assert diff(plan, application()) == []
    assert Plan.from_json(plan.to_json()) == plan
    form = application().file_form()
    put(form, *change)
    shape = read_shape(read_document(json.dumps(form).encode()))
    if shape is not None and not shape.broken and not shape.document.problems:
        same = shape.application == plan.application
        assert bool(diff(plan, shape.application)) != same


@given(st.sampled_from(sorted(Scalar, key=lambda scalar: scalar.value)), VALUES)
def test_constant_fits_only_when_its_type_holds_it(scalar: Scalar, value: Any) -> None:
    if mismatch(value, DType(scalar)) is None and scalar.is_integer:
        assert int(scalar.numpy.type(value)) == value
