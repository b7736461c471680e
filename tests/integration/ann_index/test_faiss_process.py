"""FAISS's traps that only show across threads and processes."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import faiss
import numpy as np

from ann_index import faiss_library
from ann_index.faiss_build import Factory, build_faiss
from ann_index.faiss_index import FaissIndex
from ann_index.types import Metric
from runtime.engine_settings import AnnIndexSettings
from tests.support.vectors import clustered

FORK = """
import os, signal, sys
import numpy as np
from concurrent.futures import ThreadPoolExecutor
from ann_index.faiss_build import Factory, build_faiss
from ann_index.faiss_index import FaissIndex
from runtime.engine_settings import AnnIndexSettings
from ann_index.types import Metric
rows = np.random.default_rng(0).standard_normal((2000, 8), np.float32)
built = build_faiss(rows, Metric.L2, Factory.parse("IVF20,Flat"), AnnIndexSettings())
index = FaissIndex(built, Metric.L2, 5)
with ThreadPoolExecutor(2) as pool:
    list(pool.map(lambda _: index.search(rows[:64], 10), range(4)))
index.search(rows[:64], 10)
child = os.fork()
if child == 0:
    signal.alarm(20)
    found = index.search(rows[:64], 10)
    os._exit(0 if (found.positions[:, 0] == range(64)).all() else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def graph() -> FaissIndex:
    rows = clustered(2_000, 8)
    return FaissIndex(build_faiss(rows, Metric.L2, Factory.parse("HNSW8"), AnnIndexSettings()), Metric.L2, 16)


def test_a_search_stays_in_its_thread_when_the_thread_is_new() -> None:
    """OpenMP's number of threads is set per thread: a new one starts with the machine's."""
    index = graph()

    def threads_after_search() -> int:
        faiss.omp_set_num_threads(2)
        index.search(clustered(2_000, 8)[:40], 10)
        return int(faiss.omp_get_max_threads())

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(threads_after_search).result() == 1


def test_a_build_uses_its_threads_and_gives_them_back_when_it_ends() -> None:
    seen: list[int] = []
    build_faiss(
        clustered(2_000, 8),
        Metric.L2,
        Factory.parse("Flat"),
        AnnIndexSettings(build_threads=2),
        lambda *_: seen.append(faiss.omp_get_max_threads()),
    )
    assert set(seen) == {2}
    assert faiss.omp_get_max_threads() == 1


def test_a_forked_child_can_search_when_its_parent_searched_in_threads() -> None:
    """Processes are spawned; if one is forked all the same, it must not hang in OpenMP's lost pool."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORK],
        timeout=60,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([".", "sdk"])},
    )
    assert done.returncode == 0


def test_deserialisation_is_limited_when_a_file_was_read(tmp_path: Path) -> None:
    path = tmp_path / "index.faiss"
    faiss.write_index(faiss.IndexFlatL2(4), str(path))
    assert faiss_library.read_index(path).d == 4
    assert faiss.get_deserialization_vector_byte_limit() == faiss_library.MAX_VECTOR_BYTES
    assert faiss.get_deserialization_loop_limit() == faiss_library.MAX_LOOPS


def test_searches_leave_the_callers_arrays_alone_when_the_metric_is_cosine() -> None:
    rows = clustered(500, 8)
    index = FaissIndex(
        build_faiss(rows, Metric.COSINE, Factory.parse("Flat"), AnnIndexSettings()), Metric.COSINE
    )
    query, exclude = rows[:1] * 3, np.array([0, 0, -1])
    before = query.copy()
    index.search(query, 3, [exclude])
    assert np.array_equal(query, before)
    assert exclude.tolist() == [0, 0, -1]
