"""The reference model: a weighted sum of its inputs' columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_server.tensors import TensorSpec, check_inputs, check_outputs

OUTPUT = "score"


class LinearRunner:
    """Gives `score`, (rows, 1): the sum over inputs of row times weights, plus the bias."""

    def __init__(
        self, name: str, version: str, weights: Mapping[str, NDArray[np.float32]], bias: float = 0.0
    ) -> None:
        """Shapes: weights (width,) float32 per input."""
        self._name = name
        self._version = version
        self._weights = dict(weights)
        self._bias = np.float32(bias)
        float32 = np.dtype(np.float32)
        self._inputs = {key: TensorSpec(key, float32, (None, len(row))) for key, row in weights.items()}
        self._outputs = {OUTPUT: TensorSpec(OUTPUT, float32, (None, 1))}

    @property
    def name(self) -> str:
        return self._name

    @property
    def version(self) -> str:
        return self._version

    @property
    def inputs(self) -> Mapping[str, TensorSpec]:
        return self._inputs

    @property
    def outputs(self) -> Mapping[str, TensorSpec]:
        return self._outputs

    def run(self, inputs: Mapping[str, NDArray[Any]], outputs: Sequence[str]) -> list[NDArray[Any]]:
        check_inputs(self._inputs, inputs)
        check_outputs(self._outputs, outputs)
        terms = [np.einsum("nd,d->n", inputs[key], row) for key, row in self._weights.items()]
        score = (np.sum(terms, axis=0) + self._bias).astype(np.float32)[:, None]  # (rows, 1) float32
        return [score for _ in outputs]
