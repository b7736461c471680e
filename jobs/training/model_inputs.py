"""The model's inputs of each label as a request at that instant would have had them: the same columns in the
same places, the same rules for what is missing or stale."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from forebay.errors import InvalidRequest
from numpy.typing import NDArray

from ann_index.exact_index import paired_scores
from ann_index.types import Metric
from feature_store.codec import RowBlock, ViewReader
from feature_store.types import NO_VALUE, Status
from gateway.compile_tensor import tensor_plan
from gateway.plan import TensorPlan
from jobs.training.request_values import RequestValues
from jobs.training.view_values import ViewValues
from model_server.declaration import column_length
from registry.definitions import Application, split_column
from registry.pipeline_definitions import HydrateView, Pipeline

SCORE = "retrieve.score"


@dataclass(frozen=True, slots=True)
class Inputs:
    """What the model takes for n labels. `tensors` are (n, width), by input; `served` (n,) says which labels
    would have had an answer: no view's rule fails them, no required row is missing, every input can be held.
    """

    tensors: Mapping[str, NDArray[Any]]
    served: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class ModelInputs:
    """Assembles the inputs of one pipeline's model."""

    application: Application
    pipeline: Pipeline
    readers: Mapping[str, ViewReader]
    plans: tuple[TensorPlan, ...] = field(init=False)

    def __post_init__(self) -> None:
        model = self.application.models[self.pipeline.predict]
        plans = [
            tensor_plan(self.application, self.pipeline, self.readers, name, declared)
            for name, declared in model.inputs.items()
        ]
        object.__setattr__(self, "plans", tuple(plans))

    @property
    def takes_score(self) -> bool:
        """Whether the model takes how close a candidate is to what it was found with."""
        return any(plan.score for plan in self.plans)

    def widths(self, columns: Sequence[str]) -> list[dict[str, Any]]:
        """Return how many columns of a tensor each of the application's columns fills."""
        return [
            {"column": name, "width": column_length(self.application, self.pipeline, name)}
            for name in columns
        ]

    def check_score(self, label_columns: Collection[str]) -> None:
        """Raises: InvalidRequest where nothing says what a candidate's score is."""
        if self.takes_score and SCORE not in label_columns and len(self.pipeline.retrieve) != 1:
            raise InvalidRequest(
                f"labels: no column {SCORE}, which the model takes, and the pipeline has several searches, "
                "so that it can't be computed",
                field=SCORE,
            )

    def of(
        self, views: Mapping[str, ViewValues], request: RequestValues, given_score: NDArray[np.float32] | None
    ) -> Inputs:
        """Return the inputs of n labels. Cost: per view and request feature, never per value."""
        served = request.served.copy()
        blocks = {
            step.view: self._trusted(step, stage, views[step.view], served)
            for stage, steps in (
                ("hydrate", self.pipeline.hydrate),
                ("hydrate_candidates", self.pipeline.hydrate_candidates),
            )
            for step in steps
            if step.view in views
        }
        score = None
        if self.takes_score:
            score = self._score(views) if given_score is None else given_score
        tensors = {plan.name: self._tensor(plan, blocks, request, score, served) for plan in self.plans}
        return Inputs(tensors, served)

    def _trusted(
        self, step: HydrateView, stage: str, values: ViewValues, served: NDArray[np.bool_]
    ) -> RowBlock:
        """Return the rows as the model may see them (HydratedView.trusted), and note whom that ends."""
        rules = getattr(self.pipeline.degrade, stage)
        rule = rules.get(step.view)
        absent = values.block.row_statuses == Status.NOT_FOUND
        if step.required:
            served &= ~absent
        if rule == "fail":
            served &= ~(absent | values.stale | self._lacking(step.view, values))
        if rule == "stale" or not values.stale.any():
            return values.block
        rows = [None if old else row for row, old in zip(values.rows, values.stale.tolist(), strict=True)]
        return values.reader.decode(rows, 0)

    def _lacking(self, view: str, values: ViewValues) -> NDArray[np.bool_]:
        """Return which rows lack a value that the model takes."""
        lacking = np.zeros(len(values.rows), np.bool_)
        for plan in self.plans:
            for part in plan.views:
                if part.view == view:
                    for feature in part.spec.features:
                        statuses = values.block.statuses(feature)
                        lacking |= (statuses == Status.NULL) | (statuses == Status.DEFAULTED)
        return lacking

    def _tensor(
        self,
        plan: TensorPlan,
        blocks: Mapping[str, RowBlock],
        request: RequestValues,
        score: NDArray[np.float32] | None,
        served: NDArray[np.bool_],
    ) -> NDArray[Any]:
        tensor = np.empty((len(served), plan.width), plan.dtype)
        for part in plan.views:
            block = blocks[part.view]
            block.gather(part.spec, tensor, None if len(block) == len(served) else np.arange(len(served)))
            if plan.dtype.kind != "f":
                for feature in part.spec.features:
                    served &= ~np.isin(block.statuses(feature), NO_VALUE)
                for feature in part.narrowed:
                    served &= ~_out_of_range(np.asarray(block.column(feature).values), plan.dtype)
        for column in plan.request:
            values = request.values[column.field].reshape(len(served), column.length)
            if plan.dtype.kind == "i":
                served &= ~_out_of_range(values, plan.dtype)
            with np.errstate(over="ignore", invalid="ignore"):
                converted = values.astype(plan.dtype)
            if column.may_overflow and plan.dtype.kind == "f":
                served &= ~np.isinf(converted).any(axis=1)
            tensor[:, column.start : column.start + column.length] = converted
        for part_score in plan.score:
            tensor[:, part_score.column] = score
        return tensor

    def _score(self, views: Mapping[str, ViewValues]) -> NDArray[np.float32]:
        """Return each label's candidate's score, (n,) float32: what an exact search of vectors as they were
        known then gives; NaN where one of the two has none."""
        [retrieve] = self.pipeline.retrieve
        index = self.application.indexes[retrieve.index]
        query_view, query = split_column(retrieve.query)
        asked, vectors = (
            views[query_view].column(query),
            views[index.vector_view].column(index.vector_feature),
        )
        missing = np.isin(asked.statuses, NO_VALUE) | np.isin(vectors.statuses, NO_VALUE)
        scores = paired_scores(
            np.asarray(vectors.values, np.float32), np.asarray(asked.values, np.float32), Metric(index.metric)
        )
        return np.where(missing, np.float32(np.nan), scores)


def _out_of_range(values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[np.bool_]:
    """Return which of n rows hold an integer that `dtype` can't."""
    limits = np.iinfo(dtype.str)
    rows = values.reshape(len(values), -1)
    return np.asarray(((rows < limits.min) | (rows > limits.max)).any(axis=1))
