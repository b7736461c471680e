"""Building a snapshot on a real disk: what is in it, what is refused, and what stays when it fails."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from forebay.errors import Conflict, Error, InvalidRequest, NotUsable

from ann_index.snapshot import build_snapshot, index_directory, list_versions, load_snapshot, read_manifest
from ann_index.types import Metric
from registry.dtypes import Scalar
from runtime.clock import ManualClock
from tests.support.snapshots import INTEGERS, QUICK, STRINGS, VECTORS, publish, spec

BUILD = """
import fcntl, os, resource, signal, sys
from pathlib import Path
import numpy as np
from runtime.engine_settings import AnnIndexSettings
from ann_index.snapshot import SnapshotSpec, build_snapshot
from ann_index.types import Metric
from registry.dtypes import Scalar
from runtime.clock import ManualClock

directory = Path(sys.argv[1])
vectors = np.random.default_rng(0).standard_normal((300, 8), np.float32)


def publish():
    spec = SnapshotSpec("1", Metric.L2, "movie", "movie_id", Scalar.INT64, factory="HNSW8")
    quick = AnnIndexSettings(sample_queries=50, latency_searches=10)
    build_snapshot(directory, spec, range(300), vectors, clock=ManualClock(), settings=quick)

"""


def run(directory: Path, script: str) -> subprocess.CompletedProcess[str]:
    """Run a script that builds in `directory`, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", BUILD + script, str(directory)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([".", "sdk"])},
    )


@pytest.mark.parametrize("key_dtype", [Scalar.INT64, Scalar.STRING])
@pytest.mark.parametrize("factory", ["Flat", "HNSW8", "IVF8,Flat"])
@pytest.mark.parametrize("metric", list(Metric))
def test_a_snapshot_finds_each_row_by_its_own_vector_when_built(
    tmp_path: Path, metric: Metric, factory: str, key_dtype: Scalar
) -> None:
    manifest = publish(tmp_path / "movies", spec("1", metric, key_dtype, factory))
    snapshot = load_snapshot(tmp_path / "movies" / "1", tmp_path / "cache")
    assert snapshot.manifest == manifest
    assert (manifest.count, manifest.dimension, manifest.factory) == (300, 8, factory)
    assert manifest.recall.bound >= 0.9
    keys = STRINGS if key_dtype is Scalar.STRING else INTEGERS
    if metric is not Metric.INNER_PRODUCT:
        found = snapshot.index.search(VECTORS[:20], 1)
        assert list(snapshot.keys.values(found.positions[:, 0])) == keys[:20]
        assert found.scores[:, 0] == pytest.approx(1.0 if metric is Metric.COSINE else 0.0, abs=1e-3)
    everything = np.arange(300)
    assert list(snapshot.keys.values(everything)) == sorted(keys)


def test_the_files_are_the_same_when_the_same_rows_are_built_in_another_order(tmp_path: Path) -> None:
    order = np.random.default_rng(5).permutation(300)
    first = publish(tmp_path / "movies", spec("1", factory="HNSW8"))
    second = build_snapshot(
        tmp_path / "movies",
        spec("2", factory="HNSW8"),
        np.array(INTEGERS)[order],
        VECTORS[order],
        clock=ManualClock(),
        settings=QUICK,
    )
    assert first.files == second.files
    assert first.golden == second.golden
    assert first.parameters == second.parameters


def test_versions_are_listed_and_described_when_published(tmp_path: Path) -> None:
    directory = index_directory(tmp_path, "app", "movies")
    assert list_versions(directory) == []
    for version in ("2", "1"):
        publish(directory, spec(version))
    assert directory == tmp_path / "app" / "indexes" / "movies"
    assert list_versions(directory) == ["1", "2"]
    manifest = read_manifest(directory / "2")
    assert (manifest.index, manifest.version, manifest.space, manifest.batch) == (
        "movies",
        "2",
        "taste",
        "b1",
    )
    assert (manifest.entity, manifest.key_field) == ("movie", "movie_id")


def test_progress_is_told_when_a_snapshot_is_built(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    build_snapshot(
        tmp_path / "movies",
        spec(factory="IVF8,Flat"),
        INTEGERS,
        VECTORS,
        clock=ManualClock(),
        settings=QUICK,
        progress=lambda *step: told.append(step),
    )
    stages = ["check", "train", "index", "tune", "measure", "write"]
    assert list(dict.fromkeys(stage for stage, _, _ in told)) == stages
    for stage in stages:
        steps = [(done, total) for name, done, total in told if name == stage]
        assert steps == sorted(steps)
        assert steps[-1][0] == steps[-1][1]


def test_a_version_is_not_overwritten_when_it_exists(tmp_path: Path) -> None:
    publish(tmp_path / "movies", spec())
    before = (tmp_path / "movies" / "1" / "manifest.json").read_bytes()
    with pytest.raises(Conflict, match="never overwritten"):
        publish(tmp_path / "movies", spec())
    assert (tmp_path / "movies" / "1" / "manifest.json").read_bytes() == before


WITH_NAN = VECTORS.copy()
WITH_NAN[7, 3] = np.nan
WITH_ZERO = VECTORS.copy()
WITH_ZERO[[7, 9]] = 0


@pytest.mark.parametrize(
    ("keys", "vectors", "field", "message"),
    [
        ([], np.empty((0, 8), np.float32), "vectors", "no vectors"),
        ([], [], "vectors", "no vectors"),
        (INTEGERS[:-1], VECTORS, "keys", "299 keys for 300 vectors"),
        ([*INTEGERS[:-1], INTEGERS[0]], VECTORS, "keys", "more than once"),
        (STRINGS, VECTORS, "keys", "integers"),
        (INTEGERS, WITH_NAN, "vectors", "1 of 300 vectors hold NaN"),
        (INTEGERS, np.where(WITH_NAN > 0, np.inf, 1).astype(np.float64), "vectors", "of 300 vectors hold"),
        (INTEGERS, WITH_ZERO, "vectors", "2 of 300 vectors are zero"),
        ([1, 2], [np.ones(8), np.ones(9)], "vectors", "different dimensions: 8, 9"),
        (INTEGERS, VECTORS[:, 0], "vectors", "matrix"),
        (INTEGERS, VECTORS.astype(np.int64), "vectors", "floats"),
        (INTEGERS, VECTORS[:, :0], "vectors", "components"),
    ],
)
def test_rows_are_refused_when_no_index_can_be_made_of_them(
    tmp_path: Path, keys: list[int], vectors: np.ndarray, field: str, message: str
) -> None:
    with pytest.raises(InvalidRequest, match=message) as caught:
        build_snapshot(
            tmp_path / "movies",
            spec(metric=Metric.COSINE),
            keys,
            vectors,
            clock=ManualClock(),
            settings=QUICK,
        )
    assert caught.value.field == field
    assert not (tmp_path / "movies").exists()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"factory": "PQ8"}, "factory"),
        ({"factory": "HNSW99"}, "factory"),
        ({"factory": "IVF301,Flat"}, "factory"),
        ({"factory": "IVF0,Flat"}, "factory"),
        ({"version": "../1"}, "version"),
        ({"version": ".tmp-1"}, "version"),
        ({"version": ""}, "version"),
    ],
)
def test_a_build_is_refused_when_asked_for_what_is_not_served(
    tmp_path: Path, change: dict[str, str], field: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        publish(tmp_path / "movies", spec(**change))
    assert caught.value.field == field


def test_sample_queries_are_refused_when_their_dimension_differs(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest) as caught:
        build_snapshot(
            tmp_path / "movies",
            spec(),
            INTEGERS,
            VECTORS,
            clock=ManualClock(),
            settings=QUICK,
            sample_queries=np.ones((5, 9), np.float32),
        )
    assert caught.value.field == "sample_queries"


@pytest.mark.parametrize("limit_bytes", [0, 2_000, 12_000])
def test_no_version_appears_when_the_disk_is_full(tmp_path: Path, limit_bytes: int) -> None:
    """The file size limit stands in for the disk: a write past it fails, at any block of any file."""
    done = run(
        tmp_path / "movies",
        f"""
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit_bytes}, {limit_bytes}))
try:
    publish()
except Exception as error:
    print(type(error).__name__, error)
""",
    )
    assert done.stdout.startswith("NotUsable can't write a snapshot of index movies: "), done
    assert [path.name for path in (tmp_path / "movies").iterdir()] == [".build.lock"]


def test_no_version_appears_and_the_next_build_cleans_up_when_a_build_is_killed(tmp_path: Path) -> None:
    done = run(
        tmp_path / "movies",
        """
import ann_index.manifest
ann_index.manifest.Manifest.to_json = lambda self: os.kill(os.getpid(), signal.SIGKILL)
publish()
""",
    )
    assert done.returncode == -signal.SIGKILL
    assert sorted(path.name for path in (tmp_path / "movies").iterdir()) == [".build.lock", ".tmp-1"]
    assert list_versions(tmp_path / "movies") == []
    publish(tmp_path / "movies", spec("2"))
    assert sorted(path.name for path in (tmp_path / "movies").iterdir()) == [".build.lock", "2"]


def test_a_build_ends_and_leaves_nothing_when_the_progress_raises(tmp_path: Path) -> None:
    def interrupt(stage: str, done: int, total: int) -> None:
        if stage == "write":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_snapshot(
            tmp_path / "movies",
            spec(),
            INTEGERS,
            VECTORS,
            clock=ManualClock(),
            settings=QUICK,
            progress=interrupt,
        )
    assert not (tmp_path / "movies").exists()


def test_a_second_writer_is_refused_when_one_is_writing(tmp_path: Path) -> None:
    done = run(
        tmp_path / "movies",
        """
directory.mkdir()
lock = (directory / ".build.lock").open("wb")
fcntl.flock(lock, fcntl.LOCK_EX)
try:
    publish()
except Exception as error:
    print(type(error).__name__, error)
""",
    )
    assert done.stdout.startswith("Conflict another process is writing"), done


def test_a_build_is_refused_when_the_directory_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Error) as caught:
        publish(tmp_path / "file" / "movies", spec())
    assert isinstance(caught.value, NotUsable)
