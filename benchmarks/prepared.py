"""The application prepared once by the real path (apply, refresh, index build) and kept: the files, the index
snapshot and the store's dump lie in a directory named by a hash of the workload and of the code that wrote
them, so that the next run starts from there.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import FOREBAY, ROOT, run
from benchmarks.raw_store import RawStore
from benchmarks.workload import APP, INDEX, Workload, write_application
from runtime.embedded_store import TemporaryStore, find_server_program

_WRITERS = (
    "feature_store",
    "registry",
    "ann_index",
    "jobs",
    "benchmarks/models.py",
    "benchmarks/workload.py",
    "benchmarks/prepared.py",
)
_PREFIX = "prepared-"

Say = Callable[[str], None]
"""Is told in a few words what is being done."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A running store that holds the application's rows, and where its files are."""

    directory: Path
    store: TemporaryStore
    workload: Workload

    @property
    def artifacts(self) -> Path:
        return self.directory / "artifacts"

    @property
    def model(self) -> Path:
        return self.directory / "models" / "ranker" / "1" / "model.onnx"

    def forebay(self, *words: str) -> list[str]:
        """Return a command of the application's."""
        return forebay(self.store, self.directory, *words)


def forebay(store: TemporaryStore, directory: Path, *words: str) -> list[str]:
    """Return a `forebay` command on a store, its artifacts in `directory`."""
    target = ["--redis", store.url, "--artifacts", str(directory / "artifacts")]
    return [*FOREBAY, *words, *target]


@contextmanager
def prepared(work: Path, workload: Workload, say: Say) -> Iterator[Prepared]:
    """Yield the prepared application with its store running. Cost: minutes the first time, seconds later."""
    program = find_server_program()
    directory = work / f"{_PREFIX}{workload.entities}-{_digest(workload, program)}"
    complete = directory / "complete"
    if not complete.exists():
        for stale in work.glob(f"{_PREFIX}{workload.entities}-*"):
            shutil.rmtree(stale)
        directory.mkdir(parents=True)
    say("starting the store")
    with TemporaryStore(program, ["--dir", str(directory)]) as store:
        found = Prepared(directory, store, workload)
        if not complete.exists():
            _prepare(found, say)
            complete.touch()
        yield found


def _prepare(application: Prepared, say: Say) -> None:
    directory = application.directory
    say("writing the application's files")
    file = write_application(directory, application.workload)
    say("forebay apply")
    run(application.forebay("apply", str(file)), directory)
    say(f"forebay refresh run ({application.workload.entities:,} entities)")
    run(application.forebay("refresh", "run", "--app", APP), directory)
    say(f"forebay index build ({application.workload.entities:,} vectors)")
    run(application.forebay("index", "build", INDEX, "--app", APP), directory, _all_cores())
    say("saving the store")
    with RawStore(application.store.socket) as raw:
        raw.execute("SAVE")


def _all_cores() -> dict[str, str]:
    """Return the settings by which an index is built with all cores: a million vectors take minutes."""
    return {"FOREBAY_ANN_INDEX__BUILD_THREADS": str(os.cpu_count() or 1)}


def _digest(workload: Workload, program: str) -> str:
    digest = hashlib.sha256(f"{workload} {program}".encode())
    for name in _WRITERS:
        place = ROOT / name
        for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
            if path.suffix in {".py", ".lua"}:
                digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
