"""What an application file says of its data and models, as frozen values: entities, sources, streams, views,
indexes, models. Pipelines are in `pipeline_definitions.py`, the whole file in `definitions.py`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from registry.batch_checks import BatchChecks
from registry.dtypes import DType, Scalar
from registry.fields import (
    ColumnName,
    Count,
    Definition,
    DurationUs,
    Identifier,
    Text,
    TypeName,
)

AGGREGATES = ("count", "sum", "mean", "min", "max", "stddev", "last")


class Entity(Definition):
    """What features are about. Its key's fields have a fixed order."""

    key: Mapping[Identifier, TypeName] = Field(min_length=1)


class Source(Definition):
    """A table of the past: a Parquet or CSV file, or SQL over other sources. Exactly one of the three."""

    parquet: Text | None = None
    csv: Text | None = None
    sql: Text | None = None
    event_time: Identifier | None = None


class RedisStream(Definition):
    """A stream in Redis, split over `partitions` keys."""

    stream: Text
    partitions: Count = 1


class KafkaTopic(Definition):
    """A topic in Kafka; `servers` as Kafka's bootstrap list."""

    servers: Text
    topic: Text


class Stream(Definition):
    """Events as they happen, from exactly one of Redis and Kafka."""

    redis: RedisStream | None = None
    kafka: KafkaTopic | None = None
    fields: Mapping[Identifier, TypeName] = Field(min_length=1)
    event_time: Identifier
    partition_by: Identifier
    history: Identifier | None = None


class Feature(Definition):
    """One column of a view. `default` replaces a missing value; `space` names the space of an embedding."""

    dtype: TypeName
    default: Any = None
    space: Identifier | None = None


def _feature_long_form(value: object) -> object:
    return {"dtype": value} if isinstance(value, (str, DType)) else value


FeatureForm = Annotated[Feature, BeforeValidator(_feature_long_form, json_schema_input_type=str | Feature)]


class Window(Definition):
    """An aggregate of a stream's field over the last `over`, in tiles. One aggregate, exactly, names it."""

    count: Identifier | None = None
    sum: Identifier | None = None
    mean: Identifier | None = None
    min: Identifier | None = None
    max: Identifier | None = None
    stddev: Identifier | None = None
    last: Identifier | None = None
    over_us: DurationUs = Field(alias="over")
    tile_us: DurationUs = Field(alias="tile")
    default: Any = None

    @property
    def aggregates(self) -> dict[str, str]:
        """Return the aggregates named, with their fields; one, in a valid file."""
        named = {aggregate: getattr(self, aggregate) for aggregate in AGGREGATES}
        return {aggregate: field for aggregate, field in named.items() if field is not None}

    @property
    def dtype(self) -> DType:
        """Return the type of the window's feature."""
        return DType(Scalar.INT64 if self.count is not None else Scalar.FLOAT64)


class Batch(Definition):
    """Where a view's rows come from: SQL over the sources, or one source as it is; and what is checked before
    they are published."""

    sql: Text | None = None
    source: Identifier | None = None
    publish: Literal["swap", "upsert"] = "swap"
    checks: BatchChecks = BatchChecks()


class View(Definition):
    """Features of one entity that are refreshed together.

    Without `batch` and `stream` its rows come from WriteFeatures alone.
    """

    entity: Identifier
    batch: Batch | None = None
    stream: Identifier | None = None
    windows: Mapping[Identifier, Window] = Field(default_factory=dict)
    max_age_us: DurationUs | None = Field(default=None, alias="max_age")
    near_cache_us: DurationUs | None = Field(default=None, alias="near_cache")
    features: Mapping[Identifier, FeatureForm] = Field(default_factory=dict)

    @property
    def publish(self) -> Literal["swap", "upsert"]:
        """Return how rows become visible: `upsert`, in place, unless a batch swaps generations."""
        return self.batch.publish if self.batch is not None else "upsert"

    @property
    def dtypes(self) -> dict[str, DType]:
        """Return every feature's type, windows included."""
        return {name: feature.dtype for name, feature in self.features.items()} | {
            name: window.dtype for name, window in self.windows.items()
        }


class PublishIf(Definition):
    """The bar that a new index must meet to be published."""

    recall_at_10: float | None = Field(default=None, gt=0, le=1)
    p99_ms: float | None = Field(default=None, gt=0)


class Index(Definition):
    """Nearest neighbours among an entity's vectors, which are a feature."""

    entity: Identifier
    vector: ColumnName
    metric: Literal["inner_product", "cosine", "l2"]
    publish_if: PublishIf = PublishIf()

    @property
    def vector_view(self) -> str:
        return split_column(self.vector)[0]

    @property
    def vector_feature(self) -> str:
        return split_column(self.vector)[1]


class ModelInput(Definition):
    """One input of the model: columns, in order, side by side in a (rows, width) tensor of `dtype`."""

    dtype: TypeName = DType(Scalar.FLOAT32)
    columns: tuple[ColumnName, ...] = Field(min_length=1)


def _input_long_form(value: object) -> object:
    return {"columns": value} if isinstance(value, (list, tuple)) else value


ModelInputForm = Annotated[
    ModelInput, BeforeValidator(_input_long_form, json_schema_input_type=list[str] | ModelInput)
]
_OUTPUT = re.compile(r"(.+?)(?:\[(\d{1,6})\])?")


class Model(Definition):
    """An ONNX model, `<repository>/<name>/<version>/model.onnx`, its inputs and its scores.

    `traffic` is what a first apply starts with: `champion` is a version; absent means the newest.
    """

    repository: Text
    inputs: Mapping[Text, ModelInputForm] = Field(min_length=1)
    outputs: Mapping[Identifier, Text] = Field(min_length=1)
    traffic: Mapping[str, Count] = Field(default_factory=dict)

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the columns of all inputs, in order, each once."""
        return tuple(dict.fromkeys(name for part in self.inputs.values() for name in part.columns))

    def output(self, score: str) -> tuple[str, int | None]:
        """Return the ONNX output that holds `score`, and its column if one is named (`probabilities[1]`)."""
        match = _OUTPUT.fullmatch(self.outputs[score])
        if match is None or match[2] is None:
            return self.outputs[score], None
        return match[1], int(match[2])


def split_column(name: str) -> tuple[str, str]:
    """Return the view and the feature of `view.feature`; `request` and `retrieve` stand where a view does."""
    view, _, feature = name.rpartition(".")
    return view, feature
