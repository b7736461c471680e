"""The contract of every model. linear_runner.py is its executable specification."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from numpy.typing import NDArray

from model_server.tensors import TensorSpec


class ModelRunner(Protocol):
    """One version of a model, loaded and warm. Immutable, safe for concurrent runs."""

    @property
    def name(self) -> str:
        """The model's name in its repository."""
        ...

    @property
    def version(self) -> str:
        """The version's name in its repository."""
        ...

    @property
    def inputs(self) -> Mapping[str, TensorSpec]:
        """What a run takes, by name; the first dimension of each is the rows, and is free."""
        ...

    @property
    def outputs(self) -> Mapping[str, TensorSpec]:
        """What a run can give, by name."""
        ...

    def run(self, inputs: Mapping[str, NDArray[Any]], outputs: Sequence[str]) -> list[NDArray[Any]]:
        """Return the outputs asked for, in that order. A row's result doesn't depend on the other rows.

        Shapes: every input as its spec, all with as many rows.
        Raises: InvalidRequest naming `inputs`, `inputs.<name>` or `outputs`; NotUsable where the model fails.
        Cost: blocks its thread for the run; the GIL is released meanwhile.
        """
        ...
