"""The synthetic application."""

from __future__ import annotations

from pathlib import Path

import onnxruntime
import pyarrow.parquet as pq

from benchmarks.workload import MODEL, PIPELINE, Workload, write_application
from registry.application_file import load_application

SMALL = Workload(entities=200, clusters=4)


def test_the_application_is_valid_when_it_is_written(tmp_path: Path) -> None:
    application = load_application(write_application(tmp_path, SMALL))
    assert len(application.views["static"].features) == 50
    assert len(application.views["stream"].features) == 10
    assert PIPELINE in application.pipelines


def test_the_data_are_equal_when_they_are_written_twice(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_application(tmp_path / name, SMALL)
    for file in ("static.parquet", "stream.parquet", "vectors.parquet", f"models/{MODEL}/1/model.onnx"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_the_model_takes_every_feature_in_one_row_when_it_is_run(tmp_path: Path) -> None:
    write_application(tmp_path, SMALL)
    table = pq.read_table(tmp_path / "static.parquet")
    assert table.column_names == ["item_id", *SMALL.static_features]
    session = onnxruntime.InferenceSession(str(tmp_path / "models" / MODEL / "1" / "model.onnx"))
    assert session.get_inputs()[0].shape[1] == len(SMALL.references) == 60
    assert [output.name for output in session.get_outputs()] == ["score"]
