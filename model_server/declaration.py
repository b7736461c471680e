"""What an application declares of its models, as the signature that `check_signature` compares with."""

from __future__ import annotations

import numpy as np
from forebay.errors import NotFound

from model_server.outputs import OutputColumn
from model_server.signature import Widths
from registry.definitions import Application, Model, split_column
from registry.pipeline_definitions import Pipeline


def declared_inputs(application: Application, pipeline: Pipeline) -> Widths:
    """Return the inputs of the pipeline's model: the type and the number of columns of each.

    Raises: NotFound for a column that nothing declares.
    """
    model = application.models[pipeline.predict]
    return {
        name: (
            np.dtype(part.dtype.scalar.numpy),
            sum(column_length(application, pipeline, column) for column in part.columns),
        )
        for name, part in model.inputs.items()
    }


def declared_outputs(model: Model) -> tuple[OutputColumn, ...]:
    """Return where the model's scores are among its outputs."""
    return tuple(OutputColumn.parse(score, text) for score, text in model.outputs.items())


def column_length(application: Application, pipeline: Pipeline, column: str) -> int:
    """Return how many columns of a tensor `view.feature`, `request.name` or `retrieve.score` fills.

    Raises: NotFound for a column that nothing declares.
    """
    view, feature = split_column(column)
    if view == "retrieve":
        return 1
    declared = pipeline.request.get(feature) if view == "request" else None
    dtype = declared.dtype if declared is not None else application.dtype(column)
    if dtype is None:
        raise NotFound(f"nothing declares the column {column}")
    return dtype.length
