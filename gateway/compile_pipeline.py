"""Binds one declared pipeline to a release: names become readers, searches, tensors' columns, fallbacks.
Blocking, for it loads the model. `compile.py` does so for all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from forebay.errors import NotUsable

from ann_index.snapshot import Snapshot
from feature_store.codec import ViewReader
from feature_store.keys import canonical_texts
from feature_store.schema import FeatureView
from feature_store.types import KeyField
from gateway.budget import Budget
from gateway.compile_recall import recall_step
from gateway.compile_tensor import tensor_plan
from gateway.inputs import InputField, InputSchema
from gateway.plan import (
    CandidateKeys,
    CompiledPipeline,
    FallbackCandidates,
    FeatureFallback,
    HydratedView,
    IndexSearch,
    KeyPart,
    PredictFallback,
    PredictStep,
    RetrieveStep,
    Rule,
    SelectStep,
)
from gateway.precomputed.plan import precomputed_plan
from gateway.shelf import Shelf
from gateway.steps.conditions import Condition, compile_condition
from model_server.declaration import declared_inputs, declared_outputs
from model_server.signature import check_signature
from registry.candidates import candidate_entity
from registry.definitions import Application, split_column
from registry.dtypes import DType, Scalar
from registry.pipeline_definitions import Condition as DeclaredCondition
from registry.pipeline_definitions import (
    FeatureScore,
    HydrateView,
    Pipeline,
    Retrieve,
    RetrieveFallback,
)
from registry.plan import Plan
from registry.release import Release
from runtime.offload import Estimate


@dataclass(frozen=True, slots=True)
class PipelineCompiler:
    """Compiles the pipelines of one release, given its readers and its indexes."""

    plan: Plan
    release: Release
    shelf: Shelf
    readers: Mapping[str, ViewReader]
    indexes: Mapping[str, Snapshot]
    broken_indexes: Mapping[str, str]

    def pipeline(self, name: str, definition: Pipeline) -> CompiledPipeline:
        """Return the pipeline, bound. Raises: Error, saying what of it can't be."""
        application = self.plan.application
        inputs = _input_schema(application, name, definition)
        used = self._used_features(definition)
        candidates = self._candidate_keys(definition)
        hydrate = self._views(definition.hydrate, definition.degrade.hydrate, used)
        hydrate_candidates = self._views(
            definition.hydrate_candidates, definition.degrade.hydrate_candidates, used, candidates
        )
        return CompiledPipeline(
            name=name,
            release=self.release.number,
            inputs=inputs,
            entity_keys=_entity_keys(application, definition),
            hydrate=hydrate,
            retrieve=self._retrieve(definition),
            candidates=candidates,
            hydrate_candidates=hydrate_candidates,
            predict=self._predict(definition),
            retrieve_fallback=self._retrieve_fallback(name, candidates),
            predict_fallbacks=self._predict_fallbacks(definition),
            select=self._select(definition),
            budget=_budget(definition),
            returnable={
                f"{view.name}.{name}": feature.dtype.scalar
                for view in (*hydrate, *hydrate_candidates)
                for name, feature in view.reader.features.items()
            },
            precomputed=precomputed_plan(application, self.release, name, inputs),
            recall=recall_step(
                name, definition, inputs, {view: spec.entity for view, spec in application.views.items()}
            ),
        )

    def _used_features(self, definition: Pipeline) -> set[str]:
        """Return what the model, the retrieval and the order take, as "view.feature".

        Of a condition's features only those with a default: a value that isn't there meets no condition, and
        is nothing that the answer does without.
        """
        model, select = self.plan.application.models[definition.predict], definition.select
        used = {*model.columns, *(retrieve.query for retrieve in definition.retrieve)}
        used.update([select.by] if select.by is not None else ())
        return used.union(column for column in select.where if self._has_default(column))

    def _has_default(self, column: str) -> bool:
        view, feature = split_column(column)
        return self.readers[view].features[feature].default is not None

    def _views(
        self,
        steps: Sequence[HydrateView],
        rules: Mapping[str, str],
        used: set[str],
        candidates: CandidateKeys | None = None,
    ) -> tuple[HydratedView, ...]:
        return tuple(
            HydratedView(
                view=self.readers[step.view].view,
                reader=self.readers[step.view],
                rule=Rule(rules[step.view]) if step.view in rules else None,
                required=step.required,
                features=tuple(
                    name for name in self.readers[step.view].features if f"{step.view}.{name}" in used
                ),
                key=None if candidates is None else _key_parts(self.readers[step.view].view, candidates),
            )
            for step in steps
        )

    def _retrieve(self, definition: Pipeline) -> RetrieveStep | None:
        if not definition.retrieve:
            return None
        return RetrieveStep(tuple(map(self._search, definition.retrieve)), Estimate())

    def _search(self, retrieve: Retrieve) -> IndexSearch:
        if retrieve.index in self.broken_indexes:
            raise NotUsable(f"index {retrieve.index}: {self.broken_indexes[retrieve.index]}")
        snapshot = self.indexes[retrieve.index]
        view, feature = split_column(retrieve.query)
        length = self._dtype(view, feature).length
        if snapshot.index.dimension != length:
            raise NotUsable(
                f"index {retrieve.index} holds vectors of {snapshot.index.dimension} elements, "
                f"{retrieve.query} has {length}; rebuild the index"
            )
        exclude_view, exclude = split_column(retrieve.exclude) if retrieve.exclude else (None, None)
        return IndexSearch(
            index=retrieve.index,
            version=snapshot.manifest.version,
            snapshot=snapshot,
            query_view=view,
            query=self.readers[view].gather_spec([feature], [0]),
            k=retrieve.k,
            exclude_view=exclude_view,
            exclude=exclude,
        )

    def _candidate_keys(self, definition: Pipeline) -> CandidateKeys | None:
        application = self.plan.application
        entity = candidate_entity(application, definition)
        if entity is None:
            return None
        return CandidateKeys(entity, _key(application, entity), from_request=not definition.retrieve)

    def _predict(self, definition: Pipeline) -> PredictStep:
        model = self.plan.application.models[definition.predict]
        if definition.predict not in self.release.models:
            raise NotUsable(f"model {definition.predict} has no live version; apply again once it is there")
        version = self.release.models[definition.predict].champion
        runner = self.shelf.runner(definition.predict, model, version)
        tensors = tuple(
            tensor_plan(self.plan.application, definition, self.readers, name, part)
            for name, part in model.inputs.items()
        )
        outputs = declared_outputs(model)
        check_signature(runner, declared_inputs(self.plan.application, definition), outputs)
        return PredictStep(
            runner=runner,
            tensors=tensors,
            outputs=outputs,
            output_names=tuple(dict.fromkeys(output.output for output in outputs)),
            estimate=Estimate(),
        )

    def _retrieve_fallback(self, name: str, candidates: CandidateKeys | None) -> FallbackCandidates | None:
        entry = self.release.fallbacks.get(name)
        declared = isinstance(self.plan.application.pipelines[name].degrade.retrieve, RetrieveFallback)
        if entry is None or candidates is None or not declared:
            return None
        (field,) = candidates.key
        is_text = field.dtype.scalar is Scalar.STRING
        values = np.array(entry.keys, object if is_text else field.dtype.scalar.numpy)
        return FallbackCandidates(canonical_texts((field,), [list(entry.keys)]), {field.name: values})

    def _predict_fallbacks(self, definition: Pipeline) -> tuple[PredictFallback | FeatureFallback, ...]:
        return tuple(
            self._feature_fallback(definition, action.feature)
            if isinstance(action, FeatureScore)
            else PredictFallback(action)
            for action in definition.degrade.predict
            if action != "fail"
        )

    def _feature_fallback(self, definition: Pipeline, column: str) -> FeatureFallback:
        view, feature = split_column(column)
        of_candidate = view not in {step.view for step in definition.hydrate}
        return FeatureFallback(view, of_candidate, self.readers[view].gather_spec([feature], [0]))

    def _select(self, definition: Pipeline) -> SelectStep:
        scores = self.plan.application.models[definition.predict].outputs
        by = definition.select.by or next(iter(scores))
        return SelectStep(
            top=definition.select.top if definition.has_candidates else None,
            by=by,
            where=tuple(self._condition(*part) for part in definition.select.where.items()),
        )

    def _condition(self, column: str, declared: DeclaredCondition) -> Condition:
        view, feature = split_column(column)
        return compile_condition(view, feature, self._dtype(view, feature).scalar, declared)

    def _dtype(self, view: str, feature: str) -> DType:
        return self.readers[view].features[feature].dtype


def _key_parts(view: FeatureView, candidates: CandidateKeys) -> tuple[KeyPart, ...] | None:
    """Return where the fields of a candidates' view's key come from; None where it is the candidate's key."""
    if view.entity == candidates.entity:
        return None
    own = {field.name for field in candidates.key}
    return tuple(KeyPart(field.name, field.name in own) for field in view.key)


def _key(application: Application, entity: str) -> tuple[KeyField, ...]:
    return tuple(KeyField(name, dtype) for name, dtype in application.entities[entity].key.items())


def _entity_keys(application: Application, definition: Pipeline) -> tuple[KeyField, ...]:
    """Return the key fields of the request's entities, a shared one once."""
    fields = [field for entity in definition.entities for field in _key(application, entity)]
    return tuple({field.name: field for field in fields}.values())


def _input_schema(application: Application, name: str, definition: Pipeline) -> InputSchema:
    fields: dict[str, InputField] = {}
    for entity in definition.entities:
        for field in _key(application, entity):
            fields[field.name] = InputField(field.name, field.dtype, is_key=True)
    for feature, declared in definition.request.items():
        fields[feature] = InputField(feature, declared.dtype, is_key=False, default=declared.default)
    return InputSchema(
        pipeline=name,
        fields=fields,
        entity_keys={entity: tuple(application.entities[entity].key) for entity in definition.entities},
    )


def _budget(definition: Pipeline) -> Budget:
    budget = definition.budget
    total_s = None if budget.total_us is None else budget.total_us / 1e6
    return Budget(total_s, {stage: cap_us / 1e6 for stage, cap_us in budget.stages_us.items()})
