"""How an application may change from plan to plan: which changes old rows in Redis can't survive, and the ids
and schemas of the next plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from registry.definitions import Application, View
from registry.dtypes import DType, widens
from registry.plan import PlanIds, SchemaVersion
from registry.problems import FilePath, Problem, dotted
from registry.rings import Ring, is_ring_layout, ring_of

MAX_SCHEMA_ID = 65_535
"""The largest that a row's header holds."""


def evolution_problems(history: PlanIds, application: Application) -> list[Problem]:
    """Return what `application` changes that rows and keys written under earlier plans can't survive."""
    found = [*_entity_problems(history, application), *_view_problems(history, application)]
    return [Problem(dotted(path), 0, message) for path, message in found]


def _entity_problems(history: PlanIds, application: Application) -> Iterator[tuple[FilePath, str]]:
    for name, entity in application.entities.items():
        key = _key(entity.key)
        known = history.keys.get(name, key)
        if key != known:
            yield ("entities", name, "key"), f"{_was(_fields(known), _fields(key))}; {_KEY_IS_FIXED}"


def _view_problems(history: PlanIds, application: Application) -> Iterator[tuple[FilePath, str]]:
    for name, view in application.views.items():
        entity = history.view_entities.get(name, view.entity)
        if entity != view.entity:
            yield ("views", name, "entity"), f"{_was(entity, view.entity)}; {_ENTITY_IS_FIXED}"
        schemas = history.schemas.get(name, ())
        if view.publish == "upsert" and view.stream is None:
            yield from _dtype_problems(name, view, schemas)
        if len(schemas) >= MAX_SCHEMA_ID and _features(view) not in [known.features for known in schemas]:
            yield ("views", name), f"has had {MAX_SCHEMA_ID} layouts; give the view a new name"


def _dtype_problems(
    name: str, view: View, schemas: tuple[SchemaVersion, ...]
) -> Iterator[tuple[FilePath, str]]:
    """Rows written in place stay: their values must fit the new type, or be of a feature of another name."""
    for feature, dtype in _features(view):
        earlier = {
            known
            for version in schemas
            for old, known in version.features
            if old == feature and not is_ring_layout(version.features)
        }
        lost = sorted(known for known in earlier if not widens(DType.parse(known), DType.parse(dtype)))
        if lost:
            yield (
                ("views", name, "features", feature, "dtype"),
                f"{_was(', '.join(lost), dtype)}; {_ROWS_STAY}",
            )


def _was(old: str, new: str) -> str:
    return f"was {old} and is now {new}"


_KEY_IS_FIXED = "fields, types and order of a key are fixed; give the entity a new name"
_ENTITY_IS_FIXED = "a view's entity is fixed; give the view a new name"
_ROWS_STAY = (
    "rows of an upsert view stay, and their values don't fit; in two steps: add a feature of a new name and "
    "write it, and then let pipelines use it and drop this one"
)


def next_ids(
    history: PlanIds, application: Application, entities: Mapping[str, int], views: Mapping[str, int]
) -> PlanIds:
    """Return the ids of the next plan: history's, the newly allocated, and each view's present layout."""
    return PlanIds(
        entities={**history.entities, **entities},
        views={**history.views, **views},
        schemas={
            **history.schemas,
            **{
                name: _with_layout(history.schemas.get(name, ()), _layout(history, name, view))
                for name, view in application.views.items()
            },
        },
        keys={**history.keys, **{name: _key(entity.key) for name, entity in application.entities.items()}},
        view_entities={
            **history.view_entities,
            **{name: view.entity for name, view in application.views.items()},
        },
    )


def next_ring(history: PlanIds, name: str, view: View) -> Ring:
    """Return the ring of a view over a stream in the next plan: one that serves its windows already stays."""
    wanted = ring_of(view.windows.values())
    *_, present = history.schemas.get(name, ()) or (None,)
    if present is None or not is_ring_layout(present.features):
        return wanted
    kept = Ring.of_layout(present.features)
    return kept if kept.serves(wanted) else wanted


def _layout(history: PlanIds, name: str, view: View) -> tuple[tuple[str, str], ...]:
    return _features(view) if view.stream is None else next_ring(history, name, view).layout()


def _with_layout(
    schemas: tuple[SchemaVersion, ...], features: tuple[tuple[str, str], ...]
) -> tuple[SchemaVersion, ...]:
    """Return the layouts with the present one last; one that comes back keeps its id."""
    others = tuple(version for version in schemas if version.features != features)
    if len(others) < len(schemas):
        [present] = [version for version in schemas if version.features == features]
        return (*others, present)
    newest = max((version.schema_id for version in schemas), default=0)
    return (*schemas, SchemaVersion(newest + 1, features))


def _features(view: View) -> tuple[tuple[str, str], ...]:
    """Return a view's layout; of a view over a stream, its ring's, as far as its windows need it."""
    if view.stream is not None:
        return ring_of(view.windows.values()).layout()
    return tuple((name, str(feature.dtype)) for name, feature in view.features.items())


def _key(key: Mapping[str, object]) -> tuple[tuple[str, str], ...]:
    return tuple((field, str(dtype)) for field, dtype in key.items())


def _fields(key: tuple[tuple[str, str], ...]) -> str:
    return ", ".join(f"{field} {dtype}" for field, dtype in key)
