"""The models of the synthetic application: a small perceptron, and one that takes about 5 ms."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

_SLOW_WIDTH = 256
_SLOW_LAYERS = 200
"""What one thread of a 2.5 GHz core takes about 5 ms for, with eleven rows."""


def write_ranker(path: Path, columns: int, hidden: tuple[int, int], rng: np.random.Generator) -> None:
    """Write a perceptron: `columns` features, two hidden layers, one score."""
    widths = (columns, *hidden, 1)
    nodes, weights, value = [], [], "x"
    for layer, (fan_in, fan_out) in enumerate(pairwise(widths)):
        is_last = layer == len(widths) - 2
        matrix = rng.standard_normal((fan_in, fan_out), np.float32) / np.float32(np.sqrt(fan_in))
        weights.append(onnx.numpy_helper.from_array(matrix, f"w{layer}"))
        weights.append(onnx.numpy_helper.from_array(np.zeros(fan_out, np.float32), f"b{layer}"))
        result = "score" if is_last else f"h{layer}"
        nodes.append(onnx.helper.make_node("Gemm", [value, f"w{layer}", f"b{layer}"], [result]))
        if not is_last:
            nodes.append(onnx.helper.make_node("Relu", [result], [f"a{layer}"]))
        value = f"a{layer}"
    _save(path, nodes, weights, columns)


def write_slow_ranker(path: Path, columns: int) -> None:
    """Write a model that takes about 5 ms for a request: one layer applied again and again."""
    rng = np.random.default_rng(1)
    weights = [
        _scaled(rng, columns, _SLOW_WIDTH, "w_in"),
        _scaled(rng, _SLOW_WIDTH, _SLOW_WIDTH, "w"),
        _scaled(rng, _SLOW_WIDTH, 1, "w_out"),
    ]
    nodes = [onnx.helper.make_node("MatMul", ["x", "w_in"], ["a0"])]
    for layer in range(_SLOW_LAYERS):
        nodes.append(onnx.helper.make_node("MatMul", [f"a{layer}", "w"], [f"h{layer}"]))
        nodes.append(onnx.helper.make_node("Relu", [f"h{layer}"], [f"a{layer + 1}"]))
    nodes.append(onnx.helper.make_node("MatMul", [f"a{_SLOW_LAYERS}", "w_out"], ["score"]))
    _save(path, nodes, weights, columns)


def _scaled(rng: np.random.Generator, fan_in: int, fan_out: int, name: str) -> Any:
    """Return a layer's weights, scaled so that values neither vanish nor explode behind a ReLU."""
    matrix: NDArray[np.float32] = rng.standard_normal((fan_in, fan_out), np.float32)
    return onnx.numpy_helper.from_array(matrix * np.float32(np.sqrt(2 / fan_in)), name)


def _save(path: Path, nodes: Sequence[Any], weights: Sequence[Any], columns: int) -> None:
    tensor = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes,
        path.parent.parent.name,
        [tensor("x", onnx.TensorProto.FLOAT, [None, columns])],
        [tensor("score", onnx.TensorProto.FLOAT, [None, 1])],
        weights,
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(path))
