"""The ranker: gradient-boosted trees on the crosses, as one ONNX model from raw columns to probability."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, checker, helper, numpy_helper
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from skl2onnx.operator_converters.random_forest import convert_sklearn_random_forest_classifier
from sklearn.ensemble import HistGradientBoostingClassifier

from examples.movies.application import RankerInput
from examples.movies.prepare.crosses import CROSSED, IR_VERSION, OPSET, crosses
from examples.movies.prepare.training import TrainingSet

OUTPUT = "probability"
TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True)
class Ranker:
    """onnx: one float input of the width of movies.yaml's columns, one output `probability` (rows, 1)."""

    onnx: bytes
    row_count: int
    liked_share: float


def train_ranker(training: TrainingSet, ranker: RankerInput) -> Ranker:
    """A model fitted to the training set, checked to answer in ONNX what scikit-learn answers.

    Raises: ValueError if the two differ by more than 0.0001 on any training row.
    """
    first = crosses(ranker)
    crossed = run(first.model.SerializeToString(), ranker.tensor, training.x)  # (rows, width) float32
    classifier = HistGradientBoostingClassifier(
        learning_rate=0.05,
        max_iter=150,
        max_leaf_nodes=8,
        max_features=0.4,
        min_samples_leaf=400,
        l2_regularization=5.0,
        monotonic_cst=[int(rising) for rising in first.rising],
        early_stopping=False,
        random_state=0,
    ).fit(crossed, training.liked)
    model = _chain(first.model, _trees(classifier, len(first.rising)), ranker).SerializeToString()
    expected = classifier.predict_proba(crossed)[:, 1]
    difference = np.abs(run(model, ranker.tensor, training.x)[:, 0] - expected).max()
    if difference > TOLERANCE:
        raise ValueError(f"the ONNX ranker differs from scikit-learn's by {difference:.6f}")
    return Ranker(model, len(training.liked), float(training.liked.mean()))


def run(model: bytes, tensor: str, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """The first output of an ONNX model of one input."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    output: NDArray[np.float32] = session.run(None, {tensor: x})[0]
    return output


def _trees(classifier: HistGradientBoostingClassifier, width: int) -> ModelProto:
    """The classifier as ONNX: `crossed` -> `probabilities` (rows, 2), without a ZipMap."""
    model: ModelProto = convert_sklearn(
        classifier,
        initial_types=[(CROSSED, FloatTensorType([None, width]))],
        options={"zipmap": False},
        target_opset={"": OPSET, "ai.onnx.ml": 3},
        custom_conversion_functions={HistGradientBoostingClassifier: _convert_trees},
    )
    return model


def _convert_trees(scope: Any, operator: Any, container: Any) -> None:
    convert_sklearn_random_forest_classifier(scope, operator, _IntegerFlags(container))


class _IntegerFlags:
    """A skl2onnx container whose nodes get integers for booleans: protobuf refuses those as ONNX integers."""

    def __init__(self, container: Any) -> None:
        self._container = container

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def add_node(self, *place: Any, **attributes: Any) -> None:
        flags = "nodes_missing_value_tracks_true"
        attributes[flags] = [int(flag) for flag in attributes[flags]]
        self._container.add_node(*place, **attributes)


def _chain(first: ModelProto, trees: ModelProto, ranker: RankerInput) -> ModelProto:
    """Both halves as one model, from the raw columns to the probability of the positive class."""
    positive = numpy_helper.from_array(np.array([1], dtype=np.int64), "positive_class")
    select = helper.make_node("Gather", ["probabilities", "positive_class"], [OUTPUT], axis=1)
    graph = helper.make_graph(
        [*first.graph.node, *trees.graph.node, select],
        "movie_ranker",
        [helper.make_tensor_value_info(ranker.tensor, TensorProto.FLOAT, [None, ranker.width])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [None, 1])],
        [*first.graph.initializer, *trees.graph.initializer, positive],
    )
    opsets = {opset.domain: opset for opset in (*trees.opset_import, *first.opset_import)}
    model = helper.make_model(graph, opset_imports=list(opsets.values()), ir_version=IR_VERSION)
    checker.check_model(model)
    return model
