"""What a release looks like once compiled: every name resolved, every spec bound to its engine. Immutable; a
request pins the one it started with. `compile.py` makes it, `predict.py` runs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

import numpy as np
from forebay.errors import NotFound, NotUsable
from numpy.typing import NDArray

from ann_index.snapshot import Snapshot
from feature_store.codec import GatherSpec, RowBlock, ViewReader
from feature_store.schema import FeatureView
from feature_store.types import KeyField, Status
from gateway.answer_key import AnswerKey
from gateway.budget import Budget
from gateway.inputs import InputSchema
from gateway.precomputed.plan import PrecomputedPlan
from gateway.steps.conditions import Condition
from model_server.outputs import OutputColumn
from model_server.runner import ModelRunner
from registry.dtypes import Scalar
from runtime.offload import Estimate

RETRIEVAL_SCORE = "retrieve.score"
"""What a pipeline says to order its rows by how close they are to what they were found with."""


class Rule(Enum):
    """What a view's missing, null or stale values become, as `degrade` declares it."""

    DEFAULTS = "defaults"
    STALE = "stale"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class KeyPart:
    """One field of a candidates' view's key: from the candidate, or from the request."""

    name: str
    of_candidate: bool


@dataclass(frozen=True, slots=True)
class HydratedView:
    """One view that a pipeline reads: for the request's entity, or for every candidate.

    `features` are those that the answer depends on: the model, the retrieval or the order takes them. `key`
    says how a candidate's key is made where it is not the candidate's own.
    """

    view: FeatureView
    reader: ViewReader
    rule: Rule | None
    required: bool
    features: tuple[str, ...]
    key: tuple[KeyPart, ...] | None = None

    @property
    def name(self) -> str:
        return self.view.name

    @property
    def is_spare(self) -> bool:
        """Whether its rule says what to do without its rows."""
        return self.rule is not None and self.rule is not Rule.FAIL

    def trusted(self, rows: Sequence[bytes | None], block: RowBlock, now_us: int) -> RowBlock:
        """Return the block of these rows, those that may not be used as if they were not there: corrupt ones,
        and stale ones unless the rule takes them."""
        distrusted = block.row_statuses == Status.ERROR
        if self.rule is not Rule.STALE:
            distrusted = distrusted | (block.row_statuses == Status.STALE)
        if not distrusted.any():
            return block
        absent = self.reader.absent_row
        kept = [absent if bad else row for row, bad in zip(rows, distrusted.tolist(), strict=True)]
        return self.reader.decode(kept, now_us)


@dataclass(frozen=True, slots=True)
class IndexSearch:
    """Which index is searched, with which vector, for how many, without which keys."""

    index: str
    version: str
    snapshot: Snapshot
    query_view: str
    query: GatherSpec
    k: int
    exclude_view: str | None
    exclude: str | None


@dataclass(frozen=True, slots=True)
class RetrieveStep:
    """One search, or several of one entity's indexes whose candidates are merged, in the file's order.

    `index` and `version` name each index once, with commas between. `most` is the number of candidates that
    one request can find. `estimate` is for all of them together, per query.
    """

    searches: tuple[IndexSearch, ...]
    estimate: Estimate
    index: str = field(init=False)
    version: str = field(init=False)
    most: int = field(init=False)

    def __post_init__(self) -> None:
        most = sum(min(search.k, search.snapshot.index.count) for search in self.searches)
        versions = {search.index: search.version for search in self.searches}
        object.__setattr__(self, "index", ",".join(versions))
        object.__setattr__(self, "version", ",".join(versions.values()))
        object.__setattr__(self, "most", most)


@dataclass(frozen=True, slots=True)
class CandidateKeys:
    """Whose keys the candidates are, wherever they come from."""

    entity: str
    key: tuple[KeyField, ...]
    from_request: bool


@dataclass(frozen=True, slots=True)
class ViewPart:
    """Columns of a model input that come from one view."""

    view: str
    of_candidate: bool
    spec: GatherSpec
    narrowed: tuple[str, ...] = ()
    """Features of a wider type than the tensor's: a value may not fit."""


@dataclass(frozen=True, slots=True)
class RequestPart:
    """Columns of a model input that come from a request feature."""

    field: str
    start: int
    length: int
    may_overflow: bool = False
    """Whether a number that the field can hold may be infinite as one of the tensor's floats."""


@dataclass(frozen=True, slots=True)
class ScorePart:
    """The column that holds the retrieval score."""

    column: int


@dataclass(frozen=True, slots=True)
class TensorPlan:
    """How one model input is put together: shape (rows, width)."""

    name: str
    dtype: np.dtype[np.generic]
    width: int
    views: tuple[ViewPart, ...]
    request: tuple[RequestPart, ...]
    score: tuple[ScorePart, ...]


@dataclass(frozen=True, slots=True)
class PredictStep:
    """Which model runs, and which of its outputs are scores."""

    runner: ModelRunner
    tensors: tuple[TensorPlan, ...]
    outputs: tuple[OutputColumn, ...]
    output_names: tuple[str, ...]
    estimate: Estimate


@dataclass(frozen=True, slots=True)
class FallbackCandidates:
    """Candidates for when none can be retrieved, the best first.

    Shapes: texts (n,) canonical keys; columns (n,) of the key's one field.
    """

    texts: Sequence[str]
    columns: Mapping[str, NDArray[np.generic]]


class PredictFallback(Enum):
    """What stands in for a prediction that can't be made, besides a feature."""

    PRECOMPUTED = "precomputed"
    STALE_ANSWER = "stale_answer"


@dataclass(frozen=True, slots=True)
class FeatureFallback:
    """A feature that stands in for the model's score: one column."""

    view: str
    of_candidate: bool
    spec: GatherSpec


@dataclass(frozen=True, slots=True)
class SelectStep:
    """Which rows are answered, how many, and in which order. `top` is None when one row is scored.

    `by` is a score's name, "retrieve.score" or "view.feature"; a score's name has no dot.
    """

    top: int | None
    by: str
    where: tuple[Condition, ...] = ()


@dataclass(frozen=True, slots=True)
class RecallStep:
    """When an answer is given again, and what makes two requests the same.

    `caches` says whether the pipeline declares `cache:`; without it answers are kept only to stand in
    (`retains`) where none can be made. A write to one of the `watched` views ends the answers made from the
    row: the request's entity's (`entity_views`: view and entity) or a candidate's (`candidate_views`).
    """

    key: AnswerKey
    caches: bool
    fresh_s: float
    stale_s: float
    retains: bool
    entity_views: tuple[tuple[str, str], ...]
    candidate_views: tuple[str, ...]
    watched: frozenset[str]


@dataclass(frozen=True, slots=True)
class CompiledPipeline:
    """One pipeline, ready to run."""

    name: str
    release: int
    inputs: InputSchema
    entity_keys: tuple[KeyField, ...]
    """The request entities' key fields, each once: the answer's key where one row is scored."""
    hydrate: tuple[HydratedView, ...]
    retrieve: RetrieveStep | None
    candidates: CandidateKeys | None
    hydrate_candidates: tuple[HydratedView, ...]
    predict: PredictStep
    predict_fallbacks: tuple[PredictFallback | FeatureFallback, ...]
    """What is tried, in order, where the model's scores can't be had in time."""
    select: SelectStep
    budget: Budget
    returnable: Mapping[str, Scalar]
    """Features that a request may ask back, as "view.feature", and their element types."""
    retrieve_fallback: FallbackCandidates | None = None
    precomputed: PrecomputedPlan | None = None
    """None where the pipeline gives no precomputed answers, or has none."""
    recall: RecallStep | None = None
    """None where every answer is made anew."""
    spare_steps: frozenset[str] = field(init=False)
    """The hydrating steps whose views all say what to do without their rows."""

    def __post_init__(self) -> None:
        views = {"hydrate": self.hydrate, "hydrate_candidates": self.hydrate_candidates}
        spare = [step for step, of_step in views.items() if all(view.is_spare for view in of_step)]
        object.__setattr__(self, "spare_steps", frozenset(spare))


@dataclass(frozen=True, slots=True)
class CompiledRelease:
    """One release, ready to serve. `broken` says why a declared pipeline or index can't be used, `uncovered`
    why a pipeline that is to give precomputed answers has none. `entities` are their keys by name, `batches`
    the ids of the batches that wrote the live rows, by view.
    """

    number: int
    plan: int
    app: str
    readers: Mapping[str, ViewReader]
    indexes: Mapping[str, Snapshot]
    pipelines: Mapping[str, CompiledPipeline]
    broken_pipelines: Mapping[str, str]
    broken_indexes: Mapping[str, str]
    uncovered: Mapping[str, str] = field(default_factory=dict)
    entities: Mapping[str, tuple[KeyField, ...]] = field(default_factory=dict)
    batches: Mapping[str, str] = field(default_factory=dict)

    def pipeline(self, name: str) -> CompiledPipeline:
        """Return a pipeline. Raises: NotFound; NotUsable when something it needs is not there."""
        try:
            return self.pipelines[name]
        except KeyError:
            raise self._missing("pipeline", name, self.broken_pipelines, self.pipelines) from None

    def snapshot(self, index: str) -> Snapshot:
        """Return an index's snapshot. Raises: NotFound; NotUsable when no version is published."""
        try:
            return self.indexes[index]
        except KeyError:
            raise self._missing("index", index, self.broken_indexes, self.indexes) from None

    def reader(self, view: str) -> ViewReader:
        """Return a view's reader. Raises: NotFound."""
        try:
            return self.readers[view]
        except KeyError:
            raise self._missing("view", view, {}, self.readers) from None

    def entity_key(self, entity: str) -> tuple[KeyField, ...]:
        """Return the key of an entity. Raises: NotFound."""
        try:
            return self.entities[entity]
        except KeyError:
            raise self._missing("entity", entity, {}, self.entities) from None

    def _missing(
        self, kind: str, name: str, broken: Mapping[str, str], usable: Mapping[str, object]
    ) -> NotFound | NotUsable:
        if name in broken:
            return NotUsable(f"{kind} {name} can't be used: {broken[name]}")
        known = ", ".join(sorted({*usable, *broken})) or "none"
        plural = {"index": "indexes", "entity": "entities"}.get(kind, kind + "s")
        return NotFound(f"{self.app} has no such {kind}; it has these {plural}: {known}", field=kind)
