"""Step 7, predict: run the model over every scored row of the batch, once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from forebay.deadline import Deadline

from gateway.batch import Batch
from gateway.steps.stand_in import StandIn
from gateway.steps.step import DependentStep, Step
from runtime.gate import Gate
from runtime.offload import Offload


def predict_step(offload: Offload, gate: Callable[[Batch], Gate], stand_in: StandIn) -> Step:
    """Return step 7."""
    return DependentStep(
        "predict",
        work=lambda batch, deadline: run_model(batch, offload, deadline),
        gate=gate,
        size=lambda batch: max(1, batch.row_count),
        is_spare=lambda batch: bool(batch.pipeline.predict_fallbacks),
        without=stand_in.for_batch,
        divides=True,
    )


async def run_model(batch: Batch, offload: Offload, deadline: Deadline) -> None:
    """Fill in `batch.outputs`: (rows,) float32 per declared score."""
    step = batch.pipeline.predict
    if batch.row_count == 0:
        batch.outputs = {output.score: np.empty(0, np.float32) for output in step.outputs}
        return
    runner, names, tensors = step.runner, step.output_names, batch.tensors
    found = await offload.run(step.estimate, batch.row_count, deadline, lambda: runner.run(tensors, names))
    values = dict(zip(names, found, strict=True))
    batch.outputs = {output.score: output.column_of(values[output.output]) for output in step.outputs}
