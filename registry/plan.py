"""A plan: an application as it was applied, numbered and immutable, with the ids that its names stand for in
Redis. How ids and schemas may change from plan to plan is in `evolution.py`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import TypeAdapter

from registry.definitions import Application


@dataclass(frozen=True, slots=True)
class SchemaVersion:
    """One layout of a view's rows: its features and their types, in order. Rows carry `schema_id` (u16)."""

    schema_id: int
    features: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class PlanIds:
    """What names stand for, now and in every earlier plan: a name that left keeps its id, which isn't reused.

    Ids are unique across applications. `schemas` hold every layout a view has had, the present one last;
    `keys` an entity's key fields with their types; `view_entities` the entity of each view.
    """

    entities: Mapping[str, int] = field(default_factory=dict)
    views: Mapping[str, int] = field(default_factory=dict)
    schemas: Mapping[str, tuple[SchemaVersion, ...]] = field(default_factory=dict)
    keys: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    view_entities: Mapping[str, str] = field(default_factory=dict)


NO_IDS = PlanIds()


@dataclass(frozen=True, slots=True)
class Plan:
    """An applied application. `root` is the directory that its relative paths start from."""

    number: int
    app: str
    application: Application
    root: str
    ids: PlanIds

    def tiles(self, view: str) -> tuple[str, SchemaVersion] | None:
        """Return the stream whose events a view's rows hold, and the layout of its ring; None for others."""
        defined = self.application.views.get(view)
        if defined is None or defined.stream is None:
            return None
        return defined.stream, self.ids.schemas[view][-1]

    def to_json(self) -> str:
        """Return the plan as the registry stores it."""
        return _PLAN.dump_json(self, by_alias=True, exclude_none=True).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> Plan:
        """Return the plan that `to_json` wrote.

        Raises: ValueError, where the text isn't one.
        """
        return _PLAN.validate_json(text)


_PLAN = TypeAdapter(Plan)


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between two applications. `path` is dotted, as in the file's long form."""

    kind: Literal["add", "change", "remove"]
    path: str
    detail: str


def diff(old: Plan | None, new: Application) -> list[Change]:
    """Return what `new` adds, changes and removes; nothing, if it says the same as `old`.

    A whole view, model or pipeline that comes or goes is one change; inside one that stays, each value is.
    """
    before = {} if old is None else old.application.file_form()
    return list(_differences((), before, new.file_form()))


_ENTRY_DEPTH = 2


def _differences(path: tuple[str, ...], old: Any, new: Any) -> Iterator[Change]:
    if old == new:
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*old, *new]):
            yield from _entry(path, key, old, new)
        return
    if _are_records(old) and _are_records(new) and len(old) == len(new):
        for number, (before, after) in enumerate(zip(old, new, strict=True)):
            inner = path if len(new) == 1 else (*path, str(number))
            yield from _differences(inner, before, after)
        return
    yield Change("change", ".".join(path), f"{_short(old)} -> {_short(new)}")


def _entry(path: tuple[str, ...], key: str, old: dict[str, Any], new: dict[str, Any]) -> Iterator[Change]:
    inner = (*path, key)
    if len(inner) < _ENTRY_DEPTH and isinstance(old.get(key, new.get(key)), dict):
        yield from _differences(inner, old.get(key, {}), new.get(key, {}))
    elif key not in old:
        yield Change("add", ".".join(inner), _short(new[key]))
    elif key not in new:
        yield Change("remove", ".".join(inner), _short(old[key]))
    else:
        yield from _differences(inner, old[key], new[key])


def _are_records(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


_DETAIL_LIMIT = 80


def _short(value: Any) -> str:
    if isinstance(value, dict):
        text = ", ".join(str(key) for key, item in value.items() if item not in (None, {}, []))
    elif isinstance(value, list):
        text = "[" + ", ".join(_short(item) for item in value) + "]"
    else:
        text = str(value)
    return text if len(text) <= _DETAIL_LIMIT else text[: _DETAIL_LIMIT - 3] + "..."
