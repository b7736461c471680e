"""Whether a model takes what an application declares for it, and gives what it wants: compared when a release
is compiled, with all differences at once, so that no request finds out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from forebay.errors import Error, NotUsable

from model_server.outputs import OutputColumn
from model_server.runner import ModelRunner
from model_server.tensors import TensorSpec, blank

PROBE_ROWS = 3

Widths = Mapping[str, tuple[np.dtype[Any], int]]
"""Input name -> type and number of columns, as the application declares them."""


def check_signature(runner: ModelRunner, widths: Widths, outputs: Sequence[OutputColumn]) -> None:
    """Check that the model's inputs are those declared, and that it gives every score.

    Where the declarations fit, the model is run once on zeros of the declared widths: shapes that it leaves
    open are known only then.
    Raises: NotUsable listing every difference.
    """
    differences = [*_input_differences(runner, widths), *_output_differences(runner, outputs)]
    if not differences:
        differences = list(_probe_differences(runner, widths, outputs))
    if differences:
        raise NotUsable(
            f"model {runner.name} version {runner.version} doesn't fit its declaration: "
            + "; ".join(differences)
        )


def _input_differences(runner: ModelRunner, widths: Widths) -> Iterator[str]:
    for name in widths:
        if name not in runner.inputs:
            yield f"it has no input {name} (it has {', '.join(runner.inputs) or 'none'})"
    for name, spec in runner.inputs.items():
        if name not in widths:
            yield f"its input {spec} isn't declared"
            continue
        dtype, width = widths[name]
        declared = TensorSpec(name, dtype, (None, width))
        if spec.dtype != dtype or len(spec.shape) != 2 or spec.shape[1] not in (None, width):
            yield f"its input is {spec}, declared is {declared}"


def _output_differences(runner: ModelRunner, outputs: Sequence[OutputColumn]) -> Iterator[str]:
    for wanted in outputs:
        spec = runner.outputs.get(wanted.output)
        if spec is None:
            known = ", ".join(runner.outputs)
            yield f"it has no output {wanted.output} for the score {wanted.score} (it has {known})"
        elif spec.dtype.kind not in "fiub":
            yield f"its output {spec} holds no numbers for the score {wanted.score}"
        elif spec.shape and (reason := wanted.mismatch(spec.shape)):
            yield reason  # an empty shape is one that the model doesn't tell


def _probe_differences(runner: ModelRunner, widths: Widths, outputs: Sequence[OutputColumn]) -> Iterator[str]:
    inputs = {name: blank(spec, PROBE_ROWS, widths[name][1]) for name, spec in runner.inputs.items()}
    names = list(dict.fromkeys(wanted.output for wanted in outputs))
    try:
        values = dict(zip(names, runner.run(inputs, names), strict=True))
    except Error as error:
        yield f"it fails on zeros: {error.message}"
        return
    for wanted in outputs:
        shape = values[wanted.output].shape
        if reason := wanted.mismatch(shape):
            yield reason
        elif shape[0] != PROBE_ROWS:
            yield f"output {wanted.output} has {shape[0]} rows for {PROBE_ROWS} rows of input"
