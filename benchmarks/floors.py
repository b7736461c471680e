"""What the engines cost bare: FAISS searched and ONNX Runtime run by nobody but this process."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pyarrow.parquet as pq

from ann_index.faiss_library import faiss
from ann_index.snapshot import index_directory, list_versions, read_manifest
from benchmarks.pairs import median_us
from benchmarks.prepared import Prepared
from benchmarks.workload import APP, INDEX


def bare_search_us(application: Prepared, seconds: float) -> float:
    """Return the median microseconds of FAISS's own search, tuned as the published index is."""
    directory = index_directory(application.artifacts, APP, INDEX)
    version = directory / list_versions(directory)[-1]
    index = faiss.read_index(str(version / "index.faiss"))
    graph = getattr(faiss.downcast_index(index), "hnsw", None)
    if graph is not None:
        graph.efSearch = read_manifest(version).effort
    table = pq.read_table(application.directory / "vectors.parquet", columns=["embedding"])
    lists = table.column("embedding").combine_chunks()
    vectors = lists.flatten().to_numpy().reshape(len(lists), -1)  # (entities, dimension) float32
    places = iter(np.random.default_rng(0).integers(len(vectors), size=1_000_000).tolist())
    neighbours = application.workload.neighbours

    def search() -> None:
        place = next(places)
        index.search(vectors[place : place + 1], neighbours)

    return median_us(search, seconds)


def bare_run_us(application: Prepared, seconds: float) -> float:
    """Return the median microseconds of ONNX Runtime's own run of the model on one request's rows."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(application.model), options, ["CPUExecutionProvider"])
    workload = application.workload
    shape = (workload.neighbours, workload.static_columns + workload.stream_columns)
    rows = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    return median_us(lambda: session.run(["score"], {"x": rows}), seconds)
