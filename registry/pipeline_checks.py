"""The rules of a pipeline: what it reads, retrieves, scores and orders by. Those of time, degradation and
caching are in `pipeline_policy_checks.py`."""

from __future__ import annotations

import re

from registry.candidates import candidate_entity, covers, request_key
from registry.constants import mismatch
from registry.data_checks import check_input_dtype
from registry.definitions import (
    MAX_TOP,
    Condition,
    HydrateView,
    Index,
    Pipeline,
    Retrieve,
    split_column,
)
from registry.dtypes import DType, Scalar
from registry.fields import COLUMN_PATTERN
from registry.pipeline_policy_checks import check_policies
from registry.problems import FilePath, suggestion
from registry.scope import RESERVED_VIEWS, Scope

_COLUMN = re.compile(COLUMN_PATTERN)


def check_pipelines(scope: Scope) -> None:
    """Report every broken rule of every pipeline."""
    for name, pipeline in scope.application.pipelines.items():
        _PipelineCheck(scope, ("pipelines", name), pipeline).run()


class _PipelineCheck:
    """One pipeline under examination. Steps that the file has in a wrong form are taken to be right."""

    def __init__(self, scope: Scope, path: FilePath, pipeline: Pipeline) -> None:
        self.scope = scope
        self.path = path
        self.pipeline = pipeline
        self.application = scope.application
        self.has_candidates = (
            pipeline.has_candidates or self._broken("retrieve") or self._broken("candidates")
        )
        self.hydrated = {step.view for step in pipeline.hydrate}
        self.candidate_views = {step.view for step in pipeline.hydrate_candidates}

    def run(self) -> None:
        self._check_entities()
        self._check_request()
        self._check_hydrate()
        self._check_retrieve()
        self._check_hydrate_candidates()
        self._check_predict()
        self._check_select()
        check_policies(self.scope, self.path, self.pipeline)

    def _report(self, message: str, *path: str) -> None:
        self.scope.report((*self.path, *path), message)

    def _broken(self, *path: str) -> bool:
        return self.scope.is_broken(*self.path, *path)

    def _check_entities(self) -> None:
        fields: dict[str, tuple[str, DType]] = {}
        for place, name in enumerate(self.pipeline.entities):
            where = ("entities", str(place))
            if name in self.pipeline.entities[:place]:
                self._report(f"entity {name!r} is named twice", *where)
            elif self.scope.knows("entities", name, (*self.path, *where)):
                for field, dtype in self.application.entities[name].key.items():
                    other, expected = fields.setdefault(field, (name, dtype))
                    if dtype != expected:
                        self._report(
                            f"key field {field!r} is {dtype} in {name!r} but {expected} in {other!r}: "
                            "a field that entities share has one type",
                            *where,
                        )

    def _check_request(self) -> None:
        keys = request_key(self.application, self.pipeline)
        for name, feature in self.pipeline.request.items():
            if name in keys:
                self._report(f"{name!r} is also a key field of the pipeline's entities", "request", name)
            reason = None if feature.default is None else mismatch(feature.default, feature.dtype)
            if reason is not None:
                self._report(reason, "request", name, "default")

    def _check_hydrate(self) -> None:
        self._check_steps("hydrate", self.pipeline.hydrate)
        for place, step in enumerate(self.pipeline.hydrate):
            entity = self._entity_of(step.view)
            if entity is not None and entity not in self.pipeline.entities:
                self._report(self._foreign(step.view, entity), "hydrate", str(place))
            if step.required:
                self._report(
                    "only candidates can be dropped: remove required", "hydrate", str(place), "required"
                )

    def _foreign(self, view: str, entity: str) -> str:
        given = request_key(self.application, self.pipeline)
        if covers(given, self.application.entities[entity].key):
            return f"view {view!r} is of entity {entity!r}, whose key the request gives: add it to entities"
        entities = ", ".join(self.pipeline.entities)
        return f"view {view!r} is of entity {entity!r}; the pipeline's are {entities}"

    def _check_steps(self, stage: str, steps: tuple[HydrateView, ...]) -> None:
        for place, step in enumerate(steps):
            if any(step.view == earlier.view for earlier in steps[:place]):
                self._report(f"view {step.view!r} is named twice", stage, str(place))
            elif "/" not in step.view:
                self.scope.knows("views", step.view, (*self.path, stage, str(place)))
            view = self.application.views.get(step.view)
            if step.required and view is not None and view.stream is not None:
                what = "is without effect: every entity has its windows, if only of no events"
                self.scope.report((*self.path, stage, str(place), "required"), what, "warning")

    def _entity_of(self, view: str) -> str | None:
        definition = self.application.views.get(view)
        if definition is None or definition.entity not in self.application.entities:
            return None
        return definition.entity

    def _check_retrieve(self) -> None:
        if self.pipeline.retrieve and self.pipeline.candidates is not None:
            self._report("candidates come from retrieve or from the request, not from both", "candidates")
        for place, retrieve in enumerate(self.pipeline.retrieve):
            path = (*self.path, "retrieve", str(place))
            known = self.scope.knows("indexes", retrieve.index, (*path, "index"))
            index = self.application.indexes[retrieve.index] if known else None
            self._check_query(path, retrieve, index)
            self._check_exclude(path, retrieve, index)
            self._check_same_entity(path, retrieve, index)
        found = sum(retrieve.k for retrieve in self.pipeline.retrieve)
        if len(self.pipeline.retrieve) > 1 and found > MAX_TOP:
            self._report(
                f"finds up to {found} candidates; all searches together find at most {MAX_TOP}", "retrieve"
            )
        self._check_metrics()

    def _check_metrics(self) -> None:
        """Warn where scores that don't compare are ranked or given to the model together."""
        model = self.application.models.get(self.pipeline.predict)
        used = {*(() if model is None else model.columns), self.pipeline.select.by}
        indexes = (self.application.indexes.get(retrieve.index) for retrieve in self.pipeline.retrieve)
        metrics = dict.fromkeys(index.metric for index in indexes if index is not None)
        if len(metrics) > 1 and "retrieve.score" in used:
            self.scope.report(
                (*self.path, "retrieve"),
                f"retrieve.score is the best of scores by {' and '.join(metrics)}, which don't compare",
                "warning",
            )

    def _check_same_entity(self, path: FilePath, retrieve: Retrieve, index: Index | None) -> None:
        """Candidates of several retrieves are merged by key, so they are of one entity."""
        first = self.pipeline.retrieve[0].index
        other = self.application.indexes.get(first)
        if index is not None and other is not None and index.entity != other.entity:
            self.scope.report(
                (*path, "index"),
                f"index {retrieve.index!r} is of entity {index.entity!r}, {first!r} of {other.entity!r}: "
                "what a pipeline retrieves is of one entity",
            )

    def _check_query(self, path: FilePath, retrieve: Retrieve, index: Index | None) -> None:
        where = (*path, "query")
        dtype = self._hydrated_column(retrieve.query, where)
        vector = None if index is None else self.application.dtype(index.vector)
        if dtype is None or index is None or vector is None:
            return
        if dtype != vector:
            self.scope.report(
                where,
                f"{retrieve.query} is {dtype}; index {retrieve.index!r} holds {vector} ({index.vector})",
            )
            return
        spaces = self.application.space(retrieve.query), self.application.space(index.vector)
        if spaces[0] != spaces[1]:
            of_query, of_index = (space or "none" for space in spaces)
            self.scope.report(
                where,
                f"{retrieve.query} lies in space {of_query}, "
                f"the vectors of index {retrieve.index!r} in {of_index}",
            )

    def _check_exclude(self, path: FilePath, retrieve: Retrieve, index: Index | None) -> None:
        if retrieve.exclude is None:
            return
        where = (*path, "exclude")
        dtype = self._hydrated_column(retrieve.exclude, where)
        entity = None if index is None else self.application.entities.get(index.entity)
        if dtype is None or entity is None or len(entity.key) != 1:
            return
        [(field, key)] = entity.key.items()
        if dtype.scalar is not key.scalar and not (dtype.scalar.is_integer and key.scalar.is_integer):
            self.scope.report(where, f"{retrieve.exclude} is {dtype}; keys of {field!r} are {key}")

    def _hydrated_column(self, column: str, path: FilePath) -> DType | None:
        """Return the type of a feature of the request's entities; report one that isn't hydrated."""
        view, _ = split_column(column)
        dtype = self.scope.column(column, path)
        if dtype is not None and view not in self.hydrated and not self._broken("hydrate"):
            self.scope.report(path, f"view {view!r} is not in hydrate: {suggestion(view, self.hydrated)}")
        return dtype

    def _check_hydrate_candidates(self) -> None:
        steps = self.pipeline.hydrate_candidates
        self._check_steps("hydrate_candidates", steps)
        if not self.has_candidates:
            if steps:
                self._report(
                    "there are no candidates: add retrieve, or candidates: request", "hydrate_candidates"
                )
            return
        entity = candidate_entity(self.application, self.pipeline)
        if entity is None and self.pipeline.candidates is not None:
            self._check_candidates_known()
        for place, step in enumerate(steps):
            where = ("hydrate_candidates", str(place))
            if step.view in self.hydrated:
                self._report(f"view {step.view!r} is already in hydrate: name it once", *where)
            elif entity is not None:
                self._check_candidate_view(entity, step.view, where)

    def _check_candidates_known(self) -> None:
        broken = self._broken("hydrate_candidates") or any(
            self._entity_of(view) is None for view in self.candidate_views
        )
        if not broken or not self.candidate_views:
            self._report(
                "nothing tells whose keys the candidates are: hydrate_candidates needs views of one entity",
                "candidates",
            )

    def _check_candidate_view(self, entity: str, view: str, where: FilePath) -> None:
        other = self._entity_of(view)
        if other is None or other == entity or entity not in self.application.entities:
            return
        key = self.application.entities[other].key
        given = request_key(self.application, self.pipeline)
        if covers(given, key):
            self._report(f"view {view!r} is of entity {other!r}, not of the candidates: hydrate it", *where)
        elif not covers({**given, **self.application.entities[entity].key}, key):
            self._report(
                f"view {view!r} is of entity {other!r}; candidates are of {entity!r}, and with the request's "
                "keys don't give its key",
                *where,
            )

    def _check_predict(self) -> None:
        name = self.pipeline.predict
        if not self.scope.knows("models", name, (*self.path, "predict")):
            return
        missing: set[str] = set()
        for part in self.application.models[name].inputs.values():
            for column in part.columns:
                source = self._check_model_column(column, part.dtype)
                if source is not None and source not in missing:
                    missing.add(source)
                    self._report(f"model {name!r} reads {column}, but {source}", "predict")

    def _check_model_column(self, column: str, target: DType) -> str | None:
        """Return why the pipeline doesn't have a column that its model reads; None if it has it."""
        view, feature = split_column(column)
        if view == "retrieve":
            has = self.pipeline.retrieve or self._broken("retrieve")
            return None if has else "the pipeline retrieves nothing"
        if view == "request":
            declared = self.scope.names(*self.path, "request")
            if feature in self.pipeline.request:
                dtype = self.pipeline.request[feature].dtype
                check_input_dtype(self.scope, (*self.path, "predict"), column, dtype, target)
            return None if feature in declared else f"the request has no feature {feature!r}"
        if view in self.hydrated | self.candidate_views:
            return None
        if self._broken("hydrate") or self._broken("hydrate_candidates"):
            return None
        known = view in self.scope.names("views") or "/" in view
        return f"view {view!r} is not hydrated" if known else None

    def _check_select(self) -> None:
        select, model = self.pipeline.select, self.application.models.get(self.pipeline.predict)
        if model is not None and not self._broken("select"):
            scores = self.scope.names("models", self.pipeline.predict, "outputs")
            if select.by is None and self.has_candidates and len(scores) > 1:
                self._report(f"has several scores to order by: name one of {', '.join(scores)}", "select")
            elif select.by is not None and select.by not in scores:
                self._check_order(select.by, scores)
        if select.where and not self.has_candidates:
            self._report("there are no candidates to choose from", "select", "where")
        for column, condition in select.where.items():
            self._check_condition(column, condition)

    def _check_order(self, by: str, scores: list[str]) -> None:
        where = (*self.path, "select", "by")
        if by == "retrieve.score":
            if not self.pipeline.retrieve and not self._broken("retrieve"):
                self.scope.report(where, "the pipeline retrieves nothing")
            return
        if not _COLUMN.fullmatch(by):
            self.scope.report(where, f"unknown score {by!r}: {suggestion(by, scores)}")
            return
        dtype = self._read_column(by, where)
        if dtype is not None and (dtype.is_list or dtype.scalar in (Scalar.STRING, Scalar.BOOL)):
            self.scope.report(where, f"{by} is {dtype}: only a number orders rows")

    def _read_column(self, column: str, path: FilePath) -> DType | None:
        """Return the type of a feature that the pipeline reads; report one that it doesn't read."""
        view, _ = split_column(column)
        if view in RESERVED_VIEWS:
            self.scope.report(path, f"{column} is no feature of a view: name one that the pipeline hydrates")
            return None
        dtype = self.scope.column(column, path)
        broken = self._broken("hydrate") or self._broken("hydrate_candidates")
        known = dtype is not None or "/" in view
        if known and view not in self.hydrated | self.candidate_views and not broken:
            self.scope.report(path, f"view {view!r} is not hydrated by this pipeline")
        return dtype

    def _check_condition(self, column: str, condition: Condition) -> None:
        where = (*self.path, "select", "where", column)
        dtype = self._read_column(column, where)
        if dtype is None:
            return
        if dtype.is_list:
            self.scope.report(where, f"{column} is {dtype}: a condition needs a single value")
            return
        values = condition.model_dump(by_alias=True, exclude_none=True)
        if not values:
            self.scope.report(where, "says nothing: give one of eq, ne, gt, gte, lt, lte, in")
        for name, value in values.items():
            members = value if name == "in" else [value]
            reasons = [reason for member in members if (reason := mismatch(member, dtype)) is not None]
            if reasons:
                self.scope.report((*where, name), reasons[0])
