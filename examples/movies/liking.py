"""Trains the model of liking.yaml on a training set: `python -m examples.movies.liking FILE`.

The file is what `forebay training-set will_like --model-inputs` writes: the model's own inputs, in its order.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

MODEL = Path(__file__).parent / "models/liked/1/model.onnx"
_OPSET = 17
_HELD_OUT_SHARE = 0.2


def inputs_of(path: Path, outcome: str) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The rows that would have been answered, oldest first: x (rows, width) float32, the outcome (rows,)."""
    table = pq.read_table(path).sort_by("event_time")
    table = table.filter(table["served"])
    x = np.asarray(table["x"].combine_chunks().flatten().to_numpy()).reshape(len(table), -1)
    return x, table[outcome].to_numpy(zero_copy_only=False).astype(np.bool_)


def train(path: Path, model: Path, outcome: str = "liked") -> float:
    """Write the model; return the AUC of one trained without the newest fifth, on that fifth."""
    x, liked = inputs_of(path, outcome)
    cut = round(len(x) * (1 - _HELD_OUT_SHARE))
    trial = make_pipeline(StandardScaler(), LogisticRegression()).fit(x[:cut], liked[:cut])
    auc = float(roc_auc_score(liked[cut:], trial.predict_proba(x[cut:])[:, 1]))
    fitted = make_pipeline(StandardScaler(), LogisticRegression()).fit(x, liked)
    onnx = convert_sklearn(
        fitted,
        initial_types=[("x", FloatTensorType([None, x.shape[1]]))],
        options={id(fitted): {"zipmap": False}},
        target_opset=_OPSET,
    )
    model.parent.mkdir(parents=True, exist_ok=True)
    model.write_bytes(onnx.SerializeToString())
    return auc


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the model of liking.yaml.")
    parser.add_argument("training_set", type=Path)
    parser.add_argument("--model", type=Path, default=MODEL)
    options = parser.parse_args()
    auc = train(options.training_set, options.model)
    sys.stdout.write(f"{options.model}: AUC {auc:.4f} on the newest fifth, trained without it\n")


if __name__ == "__main__":
    main()
