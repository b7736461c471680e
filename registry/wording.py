"""What pydantic found wrong, in the words of somebody who writes application files."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic_core import ErrorDetails

from registry.definitions import Application
from registry.fields import COLUMN_PATTERN, Definition
from registry.problems import shown, suggestion

Location = tuple[int | str, ...]


def is_mark(part: int | str) -> bool:
    """Whether a part of pydantic's location stands for no place in the file."""
    return isinstance(part, int) or part.startswith(("<", "["))


def message_of(error: ErrorDetails) -> str:
    """Return the mistake in one line, with what is allowed instead."""
    context = error.get("ctx", {})
    match error["type"]:
        case "extra_forbidden":
            key = str(error["loc"][-1])
            return f"unknown key {shown(key)}: {suggestion(key, _allowed_keys(error['loc'][:-1]))}"
        case "missing":
            return "is required"
        case "literal_error":
            return f"must be {context['expected']}, not {shown(error['input'])}"
        case "string_pattern_mismatch":
            return _name_message(str(error["input"]), str(context["pattern"]))
        case "value_error":
            return str(context["error"])
        case kind:
            return _kind_message(kind, context, error["input"])


def _name_message(text: str, pattern: str) -> str:
    if pattern == COLUMN_PATTERN:
        return f"{shown(text)} is not of the form view.feature"
    hyphens = ", hyphens" if "-" in pattern else ""
    return (
        f"{shown(text)} is not a name: letters, digits, underscores{hyphens}, "
        "no digit first, at most 63 characters"
    )


_KINDS = {
    "string_type": "must be text",
    "string_too_short": "must not be empty",
    "string_too_long": "is longer than {max_length} characters",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "mapping_type": "must be a mapping",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "model_attributes_type": "must be a mapping",
    "tuple_type": "must be a list",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "too_short": "must not be empty",
}


def _kind_message(kind: str, context: Mapping[str, Any], value: Any) -> str:
    text = _KINDS.get(kind)
    if text is None:
        return f"is wrong: {kind.replace('_', ' ')}"
    text = text.format_map(dict(context))
    return f"{text}, not {_described(value)}" if text.startswith("must be ") else text


def _described(value: Any) -> str:
    match value:
        case dict():
            return "a mapping"
        case list() | tuple():
            return "a list"
        case bool():
            return str(value).lower()
        case _:
            return shown(value)


def _allowed_keys(location: Location) -> list[str]:
    """Return the keys that the definition at `location` knows."""
    kinds: list[Any] = [Application]
    for part in location:
        kinds = [inner for kind in kinds for inner in _inner(kind, part)]
    return [
        field.alias or name
        for kind in kinds
        if isinstance(kind, type) and issubclass(kind, Definition)
        for name, field in kind.model_fields.items()
    ]


def _inner(kind: Any, part: int | str) -> list[Any]:
    """Return the types that may stand under `part` of a value of type `kind`."""
    if isinstance(part, str) and is_mark(part):
        return [kind]
    if isinstance(kind, type) and issubclass(kind, Definition):
        fields = [field for name, field in kind.model_fields.items() if (field.alias or name) == part]
        return [choice for field in fields for choice in _choices(field.annotation)]
    arguments = get_args(kind)
    if get_origin(kind) is Mapping:
        return _choices(arguments[1])
    return _choices(arguments[0]) if get_origin(kind) is tuple else []


def _choices(annotation: Any) -> list[Any]:
    """Return the types that an annotation allows, unwrapped."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _choices(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return [choice for option in get_args(annotation) for choice in _choices(option)]
    return [annotation]
