"""Labels replayed through a pipeline's model: what it would have scored, had a view been refreshed so and
so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from forebay.errors import InvalidRequest, NotFound, NotUsable
from numpy.typing import NDArray

from jobs.training.joining import Joining
from jobs.training.model_inputs import ModelInputs
from jobs.training.output import given_score
from jobs.tuning.metrics import Floats
from model_server.declaration import declared_inputs, declared_outputs
from model_server.outputs import OutputColumn
from model_server.repository import ModelRepository
from model_server.runner import ModelRunner
from model_server.signature import check_signature
from registry.plan import Plan
from registry.release import Release
from runtime.engine_settings import OnnxSettings


@dataclass(frozen=True, slots=True)
class Scores:
    """What the model says of n labels, (n,) float64; NaN for those that would have had no answer, and how
    many rows of the view in question were found."""

    values: Floats
    found: int

    @property
    def is_answered(self) -> NDArray[np.bool_]:
        """Which labels have a score, (n,)."""
        return np.asarray(~np.isnan(self.values))


@dataclass(frozen=True, slots=True)
class Replay:
    """Scores the labels of a `joining` by one output of a model."""

    joining: Joining
    inputs: ModelInputs
    runner: ModelRunner
    output: OutputColumn
    view: str

    def scores(self) -> Scores:
        """Return what the model says of every label, as the views are joined now. Raises: as the model."""
        parts: list[Floats] = []
        found = 0
        for chunk in self.joining.chunks():
            inputs = self.inputs.of(chunk.views, chunk.request, given_score(chunk))
            [answer] = self.runner.run(inputs.tensors, [self.output.output])
            scores = self.output.column_of(answer).astype(np.float64)
            parts.append(np.where(inputs.served, scores, np.nan))
            found += int(chunk.views[self.view].is_found.sum())
        return Scores(np.concatenate(parts), found)

    def column(self, name: str) -> Any:
        """Return a column of the labels. Raises: InvalidRequest where there is none."""
        if name not in self.joining.schema.names:
            raise InvalidRequest(
                f"labels: no column {name}; they have {', '.join(self.joining.schema.names)}", field=name
            )
        return pa.chunked_array([chunk.given.column(name) for chunk in self.joining.chunks()])


def outcomes(replay: Replay, name: str) -> Floats:
    """Return the outcomes, (n,). Raises: InvalidRequest for a column that is no number, or has none in a
    row."""
    column = replay.column(name)
    try:
        numbers = column.cast(pa.int8()) if pa.types.is_boolean(column.type) else column
        values = numbers.cast(pa.float64(), safe=False).to_numpy()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InvalidRequest(f"labels: column {name} is {column.type}, not an outcome", field=name) from error
    missing = np.flatnonzero(np.isnan(values))
    if missing.size:
        raise InvalidRequest(f"labels: column {name} has no outcome in row {missing[0] + 1}", field=name)
    return np.asarray(values, np.float64)


def numbered(replay: Replay, names: Mapping[str, object] | tuple[str, ...]) -> NDArray[np.intp]:
    """Return a number for each label, the same for those with the same values in all of `names`."""
    numbers = np.zeros(replay.joining.labels.count, np.int64)
    for name in names:
        codes = pc.dictionary_encode(replay.column(name).combine_chunks(), null_encoding="encode")
        of_name = codes.indices.to_numpy()
        _, numbers = np.unique(numbers * (len(codes.dictionary) + 1) + of_name, return_inverse=True)
    return np.asarray(numbers, np.intp)


def load_model(
    plan: Plan, release: Release, pipeline: str, score: str, settings: OnnxSettings
) -> tuple[ModelRunner, OutputColumn]:
    """Return the pipeline's live model, and which of its outputs is `score` (the first where it is empty).

    Raises: NotFound for a score that it doesn't have; NotUsable where it has no live version, or doesn't fit.
    """
    definition = plan.application.pipelines[pipeline]
    model = plan.application.models[definition.predict]
    outputs = {output.score: output for output in declared_outputs(model)}
    chosen = score or next(iter(outputs))
    if chosen not in outputs:
        raise NotFound(f"model {definition.predict} has no score {chosen}; it has {', '.join(outputs)}")
    live = release.models.get(definition.predict)
    if live is None:
        raise NotUsable(f"model {definition.predict} has no live version: apply again once it is there")
    repository = ModelRepository(Path(plan.root) / model.repository, settings)
    runner = repository.load(definition.predict, int(live.champion))
    check_signature(runner, declared_inputs(plan.application, definition), tuple(outputs.values()))
    return runner, outputs[chosen]
