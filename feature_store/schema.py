"""What a view's rows hold and how they may be read: the part of a plan that the feature store works from. How
the bytes lie is in layout.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from forebay.errors import NotFound

from feature_store.types import KeyField
from feature_store.windows.ring_row import RingForm
from registry.data_definitions import Window
from registry.definitions import View
from registry.dtypes import DType, Scalar
from registry.plan import Plan, SchemaVersion
from registry.rings import Ring, is_ring_layout

MAX_SCHEMA_ID = 2**16 - 1
MAX_ROW_BYTES = 1 << 20
"""The widest row, its header included."""


@dataclass(frozen=True, slots=True)
class Feature:
    """One column. `default` replaces null and not found; None declares none. A list's default is a list, or
    one value for all its elements."""

    name: str
    dtype: DType
    default: Any = None


@dataclass(frozen=True, slots=True)
class RowSchema:
    """The columns of one row format, in their order in the row. `schema_id` is unique for ever.

    Raises: ValueError for an id that doesn't fit 16 bits, a repeated name, or a list of strings.
    """

    schema_id: int
    features: tuple[Feature, ...]
    by_name: Mapping[str, Feature] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_name", {feature.name: feature for feature in self.features})
        if not 0 <= self.schema_id <= MAX_SCHEMA_ID:
            raise ValueError(f"a schema id is within 0 to {MAX_SCHEMA_ID}")
        if len(self.by_name) != len(self.features):
            raise ValueError("two features of a schema have the same name")
        for feature in self.features:
            if feature.dtype.is_list and feature.dtype.scalar is Scalar.STRING:
                raise ValueError(f"feature {feature.name}: rows hold strings, but no lists of strings")


@dataclass(frozen=True, slots=True)
class FeatureView:
    """A view as it is stored and read.

    `schema` is what is written, `older` are the schemas whose rows may still be there, oldest first.
    `max_age_us` None: nothing gets stale. `near_cache_us`: how long ago a row may have been read that a
    server gives out again; 0 for not at all.
    `ring`, of a view over a stream, is how its rows lie; `windows` are its features' definitions, and
    `schema` is what is read of a row, not what is stored.
    """

    name: str
    view_id: int
    entity: str
    entity_id: int
    key: tuple[KeyField, ...]
    schema: RowSchema
    older: tuple[RowSchema, ...] = ()
    max_age_us: int | None = None
    publish: Literal["swap", "upsert"] = "swap"
    near_cache_us: int = 0
    ring: RingForm | None = None
    windows: Mapping[str, Window] = field(default_factory=dict)

    @property
    def features(self) -> Mapping[str, Feature]:
        """The present features by name, in the order of the row."""
        return self.schema.by_name

    def dtype(self, name: str) -> DType:
        """Return a feature's type. Raises: NotFound."""
        feature = self.schema.by_name.get(name)
        if feature is None:
            raise NotFound(f"view {self.name} has no feature {name}")
        return feature.dtype


def feature_view(plan: Plan, name: str) -> FeatureView:
    """Return the plan's view `name`.

    Raises: NotFound; ValueError where the plan can't be stored as rows (RowSchema).
    """
    view = plan.application.views.get(name)
    if view is None:
        raise NotFound(f"application {plan.app} has no view {name}")
    ring = None
    if view.stream is None:
        versions = [one for one in plan.ids.schemas[name] if not is_ring_layout(one.features)]
        *older, newest = (_row_schema(version, view) for version in versions)
    else:
        stored = plan.ids.schemas[name][-1]
        ring = RingForm(stored.schema_id, Ring.of_layout(stored.features))
        older, newest = [], _window_schema(view, stored.schema_id)
    key = plan.application.entities[view.entity].key
    return FeatureView(
        name=name,
        view_id=plan.ids.views[name],
        entity=view.entity,
        entity_id=plan.ids.entities[view.entity],
        key=tuple(KeyField(field_name, dtype) for field_name, dtype in key.items()),
        schema=newest,
        older=tuple(older),
        max_age_us=view.max_age_us,
        publish=view.publish,
        near_cache_us=view.near_cache_us or 0,
        ring=ring,
        windows=view.windows,
    )


def _row_schema(version: SchemaVersion, view: View) -> RowSchema:
    features = (Feature(name, DType.parse(text), _default(view, name)) for name, text in version.features)
    return RowSchema(version.schema_id, tuple(features))


def _window_schema(view: View, schema_id: int) -> RowSchema:
    features = (Feature(name, window.dtype, window.default) for name, window in view.windows.items())
    return RowSchema(schema_id, tuple(features))


def _default(view: View, name: str) -> Any:
    declared = view.features.get(name)
    return None if declared is None else declared.default
