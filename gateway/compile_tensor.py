"""Where the columns of a model's input come from, and where they go: bound when a release is compiled, and
when a training set is made, so that a model is trained on the columns that it is served with."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from feature_store.codec import ViewReader
from gateway.plan import RequestPart, ScorePart, TensorPlan, ViewPart
from model_server.declaration import column_length
from registry.definitions import Application, ModelInput, split_column
from registry.dtypes import DType, overflows
from registry.pipeline_definitions import Pipeline


def tensor_plan(
    application: Application,
    pipeline: Pipeline,
    readers: Mapping[str, ViewReader],
    name: str,
    declared: ModelInput,
) -> TensorPlan:
    """Give every column of the input `name` its place, in the order of the file, grouped by where it is from.

    Raises: NotFound for a column that nothing declares; NotUsable for one that no tensor can hold.
    """
    dtype = declared.dtype
    by_view: dict[str, tuple[list[str], list[int]]] = {}
    request: list[RequestPart] = []
    scores: list[ScorePart] = []
    width = 0
    for column in declared.columns:
        view, feature = split_column(column)
        length = column_length(application, pipeline, column)
        if view == "request":
            given = pipeline.request[feature].dtype
            request.append(RequestPart(feature, width, length, overflows(given.scalar, dtype.scalar)))
        elif view == "retrieve":
            scores.append(ScorePart(width))
        else:
            features, places = by_view.setdefault(view, ([], []))
            features.append(feature)
            places.append(width)
        width += length
    of_entity = {step.view for step in pipeline.hydrate}
    parts = tuple(
        ViewPart(
            view,
            view not in of_entity,
            readers[view].gather_spec(features, places),
            tuple(name for name in features if _is_narrowed(readers[view], name, dtype)),
        )
        for view, (features, places) in by_view.items()
    )
    return TensorPlan(name, np.dtype(dtype.scalar.numpy), width, parts, tuple(request), tuple(scores))


def _is_narrowed(reader: ViewReader, feature: str, target: DType) -> bool:
    stored = reader.features[feature].dtype.scalar
    return overflows(stored, target.scalar)
