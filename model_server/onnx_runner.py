"""An ONNX model run in this process by ONNX Runtime on the CPU: loaded from bytes that were checked and
hashed (onnx_file.py), warm before it serves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from forebay.errors import NotUsable
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as _state

from model_server.onnx_file import read_onnx
from model_server.tensors import TensorSpec, blank, check_inputs, check_outputs
from runtime.engine_settings import OnnxSettings

_ERRORS: tuple[type[Exception], ...] = (
    RuntimeError,
    ValueError,
    *(kind for kind in vars(_state).values() if isinstance(kind, type) and issubclass(kind, Exception)),
)
"""What ONNX Runtime raises; its own classes share no base."""

_DTYPES: Mapping[str, np.dtype[Any]] = {
    "tensor(float)": np.dtype(np.float32),
    "tensor(double)": np.dtype(np.float64),
    "tensor(float16)": np.dtype(np.float16),
    "tensor(bool)": np.dtype(np.bool_),
    "tensor(string)": np.dtype(object),
    **{f"tensor({name})": np.dtype(name) for name in ("int8", "int16", "int32", "int64")},
    **{f"tensor({name})": np.dtype(name) for name in ("uint8", "uint16", "uint32", "uint64")},
}


class OnnxRunner:
    """One loaded model. `load` makes it."""

    def __init__(
        self,
        name: str,
        version: str,
        sha256: str,
        session: Any,
        inputs: Mapping[str, TensorSpec],
        outputs: Mapping[str, TensorSpec],
    ) -> None:
        self._name = name
        self._version = version
        self._sha256 = sha256
        self._session = session
        self._inputs = inputs
        self._outputs = outputs

    @classmethod
    def load(cls, path: Path, name: str, version: str, settings: OnnxSettings | None = None) -> OnnxRunner:
        """Return the model in the file at `path`, warm.

        Raises: NotFound; NotUsable where it isn't ONNX, is too large, needs other files, can't be loaded, has
        inputs or outputs that aren't tensors, has an input with a fixed number of rows, or fails on zeros.
        Cost: blocks for milliseconds per megabyte; run it in a thread.
        """
        chosen = settings or OnnxSettings()
        label = f"model {name} version {version}"
        file = read_onnx(path, label, chosen.max_model_bytes)
        try:
            session = onnxruntime.InferenceSession(
                file.content, _session_options(chosen), providers=["CPUExecutionProvider"]
            )
        except _ERRORS as error:
            raise NotUsable(f"{label} can't be loaded: {_first_line(error)}") from error
        inputs = {spec.name: spec for spec in (_spec(node, label) for node in session.get_inputs())}
        outputs = {spec.name: spec for spec in (_spec(node, label) for node in session.get_outputs())}
        _check_rows(inputs, label)
        runner = cls(name, version, file.sha256, session, inputs, outputs)
        runner._warm(chosen.warm_rows)
        return runner

    @property
    def name(self) -> str:
        return self._name

    @property
    def version(self) -> str:
        return self._version

    @property
    def sha256(self) -> str:
        """The hash of the file's bytes, in hexadecimal."""
        return self._sha256

    @property
    def inputs(self) -> Mapping[str, TensorSpec]:
        return self._inputs

    @property
    def outputs(self) -> Mapping[str, TensorSpec]:
        return self._outputs

    def run(self, inputs: Mapping[str, NDArray[Any]], outputs: Sequence[str]) -> list[NDArray[Any]]:
        check_inputs(self._inputs, inputs)
        check_outputs(self._outputs, outputs)
        if not outputs:
            return []  # ONNX Runtime would take it for all of them
        try:
            found: list[NDArray[Any]] = self._session.run(outputs, inputs)
        except _ERRORS as error:
            kind = type(error).__name__
            raise NotUsable(f"model {self._name} version {self._version} failed in a run: {kind}") from error
        return found

    def _warm(self, batch_sizes: Sequence[int]) -> None:
        """Run zeros. A model whose inner dimensions are free is run first by `check_signature`."""
        if any(size is None for spec in self._inputs.values() for size in spec.shape[1:]):
            return
        for rows in batch_sizes:
            self.run({name: blank(spec, rows) for name, spec in self._inputs.items()}, list(self._outputs))


def _session_options(settings: OnnxSettings) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = settings.threads_per_run
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.enable_cpu_mem_arena = True
    options.enable_mem_pattern = False  # a pattern is kept per input shape, and batch sizes differ
    options.log_severity_level = 4  # what goes wrong is raised; the rest would go to stderr
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.add_session_config_entry("session.load_model_format", "ONNX")
    return options


def _spec(node: Any, label: str) -> TensorSpec:
    dtype = _DTYPES.get(node.type)
    if dtype is not None:
        shape = tuple(size if isinstance(size, int) else None for size in node.shape or ())
        return TensorSpec(node.name, dtype, shape)
    if node.type.startswith(("seq(", "map(")):
        raise NotUsable(
            f"{label}: {node.name} is {node.type}, not a tensor: export the model without ZipMap, with "
            "skl2onnx by options={'zipmap': False}"
        )
    raise NotUsable(f"{label}: {node.name} is {node.type}, which isn't served")


def _check_rows(inputs: Mapping[str, TensorSpec], label: str) -> None:
    for spec in inputs.values():
        if not spec.shape or spec.shape[0] is not None:
            raise NotUsable(
                f"{label}: input {spec} has a fixed number of rows: export it with a free first dimension, "
                "as [None, 19]"
            )


def _first_line(error: Exception) -> str:
    """Return what ONNX Runtime says of a file, without its prefix and its advice."""
    return str(error).split("\n", 1)[0].removeprefix("[ONNXRuntimeError] : ")[:300]
