"""Writes a snapshot's directory so that it appears whole or not at all: into `.tmp-<version>`, every file
flushed to the disk, checked by loading it, and then renamed. What exists is never overwritten.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from forebay.errors import Conflict, NotUsable
from numpy.typing import NDArray

from ann_index.faiss_library import faiss
from ann_index.manifest import INDEX_FILE, MANIFEST_FILE, FileFacts, Manifest
from ann_index.snapshot_load import open_snapshot

LOCK_FILE = ".build.lock"
TEMPORARY = ".tmp-"
Describe = Callable[[Mapping[str, FileFacts]], Manifest]


def write_snapshot(
    directory: Path, version: str, index: Any, arrays: Mapping[str, NDArray[Any]], describe: Describe
) -> Manifest:
    """Return the manifest of the snapshot that is now in `<directory>/<version>`, verified as written.

    The FAISS index goes to index.faiss, each array to the file it is named by; `describe` makes the manifest
    out of the files' hashes.
    Raises: Conflict where the version exists or another process writes this index; NotUsable where the disk
    is full or can't be written. Nothing of the version is left then.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with _only_writer(directory):
            refuse_existing(directory, version)
            return _written(directory, version, index, arrays, describe)
    except OSError as error:
        raise NotUsable(
            f"can't write a snapshot of index {directory.name}: {error.strerror or error}"
        ) from error


def refuse_existing(directory: Path, version: str) -> None:
    """Raise Conflict where `version` is there already."""
    if (directory / version).exists():
        raise Conflict(f"index {directory.name} has a version {version}; versions are never overwritten")


def _written(
    directory: Path, version: str, index: Any, arrays: Mapping[str, NDArray[Any]], describe: Describe
) -> Manifest:
    temporary = directory / (TEMPORARY + version)
    temporary.mkdir()
    try:
        facts = {INDEX_FILE: _write_file(temporary / INDEX_FILE, partial(_put_index, index))}
        for name, array in arrays.items():
            facts[name] = _write_file(temporary / name, partial(_put_array, array))
        manifest = describe(facts)
        _write_file(temporary / MANIFEST_FILE, partial(_put_text, manifest.to_json()))
        open_snapshot(manifest, {name: temporary / name for name in facts})
        _sync(temporary)
        temporary.rename(directory / version)
        _sync(directory)
        return manifest
    finally:
        shutil.rmtree(temporary, ignore_errors=True)  # gone already where it was renamed


@contextmanager
def _only_writer(directory: Path) -> Iterator[None]:
    """Hold the index's lock, which the system drops with its process; so what is half-made here is dead."""
    with (directory / LOCK_FILE).open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Conflict(f"another process is writing a snapshot of index {directory.name}") from error
        for remains in directory.glob(f"{TEMPORARY}*"):
            shutil.rmtree(remains)
        yield


def _write_file(path: Path, put: Callable[[_HashingFile], None]) -> FileFacts:
    with path.open("xb") as file:
        hashing = _HashingFile(file)
        put(hashing)
        file.flush()
        os.fsync(file.fileno())
    path.chmod(0o444)
    return FileFacts(sha256=hashing.digest.hexdigest(), size_bytes=hashing.size_bytes)


class _HashingFile:
    """Hashes what passes through. A failed write raises; FAISS's own writer swallows its last one's."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.digest = hashlib.sha256()
        self.size_bytes = 0

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        self.size_bytes += len(data)
        return self._file.write(data)


def _put_index(index: Any, file: _HashingFile) -> None:
    faiss.write_index(index, faiss.PyCallbackIOWriter(file.write, 1 << 20))


def _put_array(array: NDArray[Any], file: _HashingFile) -> None:
    np.save(file, array, allow_pickle=False)


def _put_text(text: str, file: _HashingFile) -> None:
    file.write(text.encode())


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
