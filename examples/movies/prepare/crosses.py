"""The first half of the ranker: an ONNX graph that compares user and movie, from the raw input columns.

Training runs this very graph to make the classifier's input, and it is the first half of the served model.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, checker, helper, numpy_helper

from examples.movies.application import RankerInput

OPSET = 17
IR_VERSION = 8
CROSSED = "crossed"

_USER_VECTORS = ("user_taste.long_term", "user_taste.short_term")
_USER_GENRES = ("user_taste.genre_taste", "user_taste.recent_genre_taste")
_USER_YEARS = ("user_taste.newest_year", "user_taste.recent_year")
_SCALARS_OF_FIT = ("retrieve.score", "movie_profile.mean_rating")


@dataclass(frozen=True, slots=True)
class Crosses:
    """The graph x -> `crossed`, and for each column of `crossed` whether more of it means a better fit."""

    model: ModelProto
    rising: tuple[bool, ...]


def crosses(ranker: RankerInput) -> Crosses:
    """The graph for this column order.

    `crossed` holds every scalar column of x as it is, the inner product of the movie's vector with the user's
    long- and short-term vectors, the user's mean taste for the movie's genres, and how much newer the movie
    is than those the user rated. NaN passes through. Raises: ValueError if movies.yaml lacks a column.
    """
    graph = _Graph(ranker)
    scalars = [column.name for column in ranker.columns if column.width == 1]
    vector = graph.columns("movie_profile.embedding")
    fits = [graph.dot(vector, graph.columns(name)) for name in _USER_VECTORS]
    genres = graph.columns("movie_profile.genres")
    genre_count = graph.node("Max", graph.total(genres), graph.constant(np.float32(1.0)))
    fits += [graph.node("Div", graph.dot(genres, graph.columns(name)), genre_count) for name in _USER_GENRES]
    year = graph.columns("movie_profile.year")
    newer = [graph.node("Sub", year, graph.columns(name)) for name in _USER_YEARS]
    model = graph.finish([*(graph.columns(name) for name in scalars), *fits, *newer])
    rising = [name in _SCALARS_OF_FIT for name in scalars] + [True] * len(fits) + [False] * len(newer)
    return Crosses(model, tuple(rising))


class _Graph:
    """Grows an ONNX graph node by node; every method answers the name of a tensor of shape (rows, width)."""

    def __init__(self, ranker: RankerInput) -> None:
        self._ranker = ranker
        self._nodes: list[NodeProto] = []
        self._constants: list[TensorProto] = []

    def node(self, operator: str, *inputs: str) -> str:
        name = f"cross_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, list(inputs), [name], name=name))
        return name

    def constant(self, value: NDArray[np.int64] | np.float32) -> str:
        name = f"cross_constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def columns(self, name: str) -> str:
        column = self._ranker.column(name)
        bounds = (column.offset, column.offset + column.width, 1)
        start, end, axis = (self.constant(np.array([bound], dtype=np.int64)) for bound in bounds)
        return self.node("Slice", self._ranker.tensor, start, end, axis)

    def total(self, tensor: str) -> str:
        return self.node("ReduceSum", tensor, self.constant(np.array([1], dtype=np.int64)))

    def dot(self, left: str, right: str) -> str:
        return self.total(self.node("Mul", left, right))

    def finish(self, parts: list[str]) -> ModelProto:
        self._nodes.append(helper.make_node("Concat", parts, [CROSSED], axis=1))
        rows = helper.make_tensor_value_info(
            self._ranker.tensor, TensorProto.FLOAT, [None, self._ranker.width]
        )
        crossed = helper.make_tensor_value_info(CROSSED, TensorProto.FLOAT, [None, len(parts)])
        graph = helper.make_graph(self._nodes, "crosses", [rows], [crossed], self._constants)
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
        )
        checker.check_model(model)
        return model
