"""ONNX models for tests, made in code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 8
Shape = Sequence[int | str | None]


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, tuple[int, Shape]],
    outputs: Mapping[str, tuple[int, Shape]],
    weights: Mapping[str, NDArray[np.generic]] | None = None,
) -> onnx.ModelProto:
    """Return a model of these nodes; inputs and outputs are name -> (TensorProto type, shape)."""
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info(name, *spec) for name, spec in inputs.items()],
        [helper.make_tensor_value_info(name, *spec) for name, spec in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()],
    )
    opset = [helper.make_opsetid("", OPSET)]
    made = helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION)
    onnx.checker.check_model(made)
    return made


def linear(
    weights: Mapping[str, Sequence[float]],
    bias: float = 0.0,
    *,
    rows: int | str = "rows",
    output: str = "score",
) -> onnx.ModelProto:
    """Return a model like LinearRunner: (rows, 1), the sum of input @ weights over inputs, plus bias."""
    nodes, arrays = [], {"bias": np.array([bias], np.float32)}
    for name, row in weights.items():
        arrays[f"{name}_w"] = np.array(row, np.float32)[:, None]
        nodes.append(helper.make_node("MatMul", [name, f"{name}_w"], [f"{name}_y"]))
    terms = [f"{name}_y" for name in weights]
    nodes.append(helper.make_node("Sum", [*terms, "bias"], [output]))
    inputs = {name: (TensorProto.FLOAT, [rows, len(row)]) for name, row in weights.items()}
    return model(nodes, inputs, {output: (TensorProto.FLOAT, [rows, 1])}, arrays)


def classifier() -> onnx.ModelProto:
    """Return a model of `x` (rows, 2): `label` (rows,) int64, `probability` (rows, 2) and `flat` (rows,)."""
    nodes = [
        helper.make_node("Softmax", ["x"], ["probability"], axis=1),
        helper.make_node("ArgMax", ["x"], ["label"], axis=1, keepdims=0),
        helper.make_node("ReduceMax", ["x"], ["flat"], axes=[1], keepdims=0),
    ]
    outputs = {
        "label": (TensorProto.INT64, ["rows"]),
        "probability": (TensorProto.FLOAT, ["rows", 2]),
        "flat": (TensorProto.FLOAT, ["rows"]),
    }
    return model(nodes, {"x": (TensorProto.FLOAT, ["rows", 2])}, outputs)


def published(root: Path, name: str, version: int | str, made: onnx.ModelProto) -> Path:
    """Write a model to its place in a repository, and return the file's path."""
    path = root / name / str(version) / "model.onnx"
    path.parent.mkdir(parents=True)
    path.write_bytes(made.SerializeToString())
    return path
