"""What an application file says of its pipelines, as frozen values: the steps of a request, their time,
and what is done when a step can't do its part."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    Tag,
    model_serializer,
)

from registry.fields import (
    ColumnName,
    Definition,
    DurationUs,
    Identifier,
    Name,
    Text,
    TypeName,
    ViewName,
)

MAX_TOP = 10_000
DEFAULT_PRECOMPUTED_MAX_AGE_US = 7 * 24 * 3_600_000_000
"""7 days: about as long as a daily run may fail before anybody must act."""


class RequestFeature(Definition):
    """A value that the request brings. Without a default it is required."""

    dtype: TypeName
    default: Any = None


class HydrateView(Definition):
    """A view to read. A candidate without a row in a `required` view is dropped."""

    view: ViewName
    required: bool = Field(default=False, strict=True)


class Retrieve(Definition):
    """Candidates from an index: the `k` nearest to the query feature, without the keys in `exclude`."""

    index: Name
    query: ColumnName
    k: Annotated[int, Field(strict=True, ge=1, le=MAX_TOP)]
    exclude: ColumnName | None = None


class Condition(Definition):
    """What a feature must meet for a row to stay; all that are given must hold."""

    eq: Any = None
    ne: Any = None
    gt: Any = None
    gte: Any = None
    lt: Any = None
    lte: Any = None
    one_of: tuple[Any, ...] | None = Field(default=None, alias="in", min_length=1)


class Select(Definition):
    """The order of the answer, descending by `by` (the model's only score, if absent), and its length."""

    top: Annotated[int, Field(strict=True, ge=1, le=MAX_TOP)] = 10
    by: Text | None = None
    where: Mapping[ColumnName, Condition] = Field(default_factory=dict)


class Budget(Definition):
    """The pipeline's time, and the most that each step may take of it."""

    total_us: DurationUs | None = Field(default=None, alias="total")
    hydrate_us: DurationUs | None = Field(default=None, alias="hydrate")
    retrieve_us: DurationUs | None = Field(default=None, alias="retrieve")
    hydrate_candidates_us: DurationUs | None = Field(default=None, alias="hydrate_candidates")
    predict_us: DurationUs | None = Field(default=None, alias="predict")

    @property
    def stages_us(self) -> dict[str, int]:
        """Return the cap of each step that has one, in the order of the steps."""
        caps = {
            "hydrate": self.hydrate_us,
            "retrieve": self.retrieve_us,
            "hydrate_candidates": self.hydrate_candidates_us,
            "predict": self.predict_us,
        }
        return {stage: cap for stage, cap in caps.items() if cap is not None}


class CandidateQuery(Definition):
    """Candidates to fall back on: SQL over the sources, or one source as it is."""

    sql: Text | None = None
    source: Identifier | None = None


class RetrieveFallback(Definition):
    """What retrieve falls back on."""

    candidates: CandidateQuery


class FeatureScore(Definition):
    """A feature that stands in for the model's score."""

    feature: ColumnName


def _form(value: object) -> str:
    return "<text>" if isinstance(value, str) else "<mapping>"


RetrieveDegrade = Annotated[
    Annotated[Literal["fail"], Tag("<text>")] | Annotated[RetrieveFallback, Tag("<mapping>")],
    Discriminator(_form),
]
PredictDegrade = Annotated[
    Annotated[Literal["precomputed", "stale_answer", "fail"], Tag("<text>")]
    | Annotated[FeatureScore, Tag("<mapping>")],
    Discriminator(_form),
]
ViewDegrade = Literal["defaults", "stale", "fail"]


def _as_sequence(value: object) -> object:
    return value if isinstance(value, (list, tuple)) else (value,)


class Degrade(Definition):
    """What each step does instead when it can't do its part; `predict` is tried in order."""

    hydrate: Mapping[ViewName, ViewDegrade] = Field(default_factory=dict)
    retrieve: RetrieveDegrade | None = None
    hydrate_candidates: Mapping[ViewName, ViewDegrade] = Field(default_factory=dict)
    predict: Annotated[
        tuple[PredictDegrade, ...],
        BeforeValidator(_as_sequence, json_schema_input_type=PredictDegrade | list[PredictDegrade]),
    ] = ()


class KeyPart(Definition):
    """One part of a cache key: an input, as it is or by the bin that it falls into.

    In the file `user_id`, or `{hour: {bin: 6}}`.
    """

    input: Identifier
    bin: float | None = Field(default=None, gt=0, allow_inf_nan=False)

    @model_serializer(mode="wrap")
    def _file_form(self, handler: SerializerFunctionWrapHandler, info: SerializationInfo) -> Any:
        return self.input if self.bin is None else {self.input: {"bin": self.bin}}


class _Bin(Definition):
    bin: float = Field(gt=0, allow_inf_nan=False)


def _key_part(value: object) -> object:
    if isinstance(value, str):
        return {"input": value}
    if isinstance(value, dict) and len(value) == 1:
        [(name, how)] = value.items()
        if isinstance(how, dict) and set(how) == {"bin"}:
            return {"input": name, **how}
    if isinstance(value, KeyPart):
        return value
    raise ValueError("a part of the key is an input's name, or {name: {bin: width}}")


KeyPartForm = Annotated[KeyPart, BeforeValidator(_key_part, json_schema_input_type=str | dict[str, _Bin])]


class Cache(Definition):
    """How long an answer is given again, and what makes two requests the same."""

    fresh_us: DurationUs = Field(alias="fresh")
    stale_us: DurationUs | None = Field(default=None, alias="stale")
    key: tuple[KeyPartForm, ...] | None = Field(default=None, min_length=1)
    invalidate_on: tuple[ViewName, ...] = ()


class Precomputed(Definition):
    """Whether answers made beforehand are given, and until what age.

    `first`: instead of computing; `fallback`: where computing fails and `degrade.predict` says so. In the
    file the mode alone, or `{mode: first, max_age: 1d}`.
    """

    mode: Literal["first", "fallback", "off"] = "off"
    max_age_us: DurationUs = Field(default=DEFAULT_PRECOMPUTED_MAX_AGE_US, alias="max_age")

    @model_serializer(mode="wrap")
    def _file_form(self, handler: SerializerFunctionWrapHandler, info: SerializationInfo) -> Any:
        return self.mode if self.max_age_us == DEFAULT_PRECOMPUTED_MAX_AGE_US else handler(self)


def _precomputed_long_form(value: object) -> object:
    return {"mode": value} if isinstance(value, str) else value


PrecomputedForm = Annotated[
    Precomputed,
    BeforeValidator(
        _precomputed_long_form, json_schema_input_type=Literal["first", "fallback", "off"] | Precomputed
    ),
]


def _hydrate_long_form(value: object) -> object:
    return {"view": value} if isinstance(value, str) else value


HydrateForm = Annotated[
    HydrateView, BeforeValidator(_hydrate_long_form, json_schema_input_type=str | HydrateView)
]


def _request_long_form(value: object) -> object:
    return {"dtype": value} if isinstance(value, str) else value


RequestForm = Annotated[
    RequestFeature, BeforeValidator(_request_long_form, json_schema_input_type=str | RequestFeature)
]


class Pipeline(Definition):
    """One question that callers ask, and the steps that answer it.

    Candidates come from `retrieve`, or from the request; with neither, one row is scored.
    """

    entities: tuple[Identifier, ...] = Field(min_length=1)
    request: Mapping[Identifier, RequestForm] = Field(default_factory=dict)
    hydrate: tuple[HydrateForm, ...] = ()
    retrieve: Annotated[
        tuple[Retrieve, ...],
        BeforeValidator(_as_sequence, json_schema_input_type=Retrieve | list[Retrieve]),
    ] = ()
    candidates: Literal["request"] | None = None
    hydrate_candidates: tuple[HydrateForm, ...] = ()
    predict: Name
    select: Select = Select()
    budget: Budget = Budget()
    degrade: Degrade = Degrade()
    cache: Cache | None = None
    precomputed: PrecomputedForm = Precomputed()

    @property
    def has_candidates(self) -> bool:
        """Whether many rows are scored rather than one."""
        return bool(self.retrieve) or self.candidates is not None

    @property
    def views(self) -> tuple[str, ...]:
        """Return the names of all views that the pipeline reads, in order, each once."""
        return tuple(dict.fromkeys(step.view for step in (*self.hydrate, *self.hydrate_candidates)))
