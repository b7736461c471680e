"""What a model takes and gives, and the check of a run's tensors against it: ONNX Runtime would fail with an
error that names neither the model nor the caller's mistake.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from forebay.errors import InvalidRequest
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output. None in `shape` is a dimension that differs from run to run; the first is rows."""

    name: str
    dtype: np.dtype[Any]
    """Of strings: object."""
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        dimensions = ", ".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.name}: {'string' if self.dtype.kind == 'O' else self.dtype.name}({dimensions})"


def check_inputs(specs: Mapping[str, TensorSpec], inputs: Mapping[str, NDArray[Any]]) -> None:
    """Check names, types, shapes, and that all inputs have as many rows.

    Raises: InvalidRequest naming `inputs` or `inputs.<name>`.
    """
    if inputs.keys() != specs.keys():
        raise InvalidRequest(f"the model takes the inputs {', '.join(specs)}", field="inputs")
    rows = -1
    for name, spec in specs.items():
        tensor = inputs[name]
        if tensor.dtype != spec.dtype or not _fits(tensor.shape, spec.shape):
            raise InvalidRequest(
                f"the model takes {spec}, not {TensorSpec(name, tensor.dtype, tensor.shape)}",
                field=f"inputs.{name}",
            )
        if rows not in (-1, tensor.shape[0]):
            raise InvalidRequest("all inputs have the same number of rows", field=f"inputs.{name}")
        rows = tensor.shape[0]


def check_outputs(specs: Mapping[str, TensorSpec], outputs: Sequence[str]) -> None:
    """Check that the outputs exist. Raises: InvalidRequest naming `outputs`."""
    unknown = [name for name in outputs if name not in specs]
    if unknown:
        raise InvalidRequest(f"the model gives the outputs {', '.join(specs)}", field="outputs")


def blank(spec: TensorSpec, rows: int, width: int = 1) -> NDArray[Any]:
    """Return zeros (or empty strings) of the input's type with `rows` rows; `width` where it is free."""
    shape = (rows, *(width if size is None else size for size in spec.shape[1:]))
    return np.full(shape, "", object) if spec.dtype.kind == "O" else np.zeros(shape, spec.dtype)


def _fits(shape: tuple[int, ...], expected: tuple[int | None, ...]) -> bool:
    if len(shape) != len(expected):
        return False
    return all(size is None or size == given for given, size in zip(shape, expected, strict=True))
