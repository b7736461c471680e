"""A private directory of files named by their SHA-256, from which processes of one machine map what they
serve. Published files are never mapped: whoever rewrites one would change, or crash, a running server.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import BinaryIO

from forebay.errors import Corrupt

BLOCK_BYTES = 1 << 20
ABANDONED_AFTER_S = 3600
"""Seconds without a write after which a half-made copy is another process's remains."""


class ArtifactCache:
    """Content-addressed copies, read-only, complete or absent."""

    def __init__(self, directory: Path) -> None:
        """Make the directory, for this user only, where it is missing."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory = directory

    def fetch(self, source: Path, sha256: str, size_bytes: int) -> Path:
        """Return the path of a file with this content, copied from `source` unless it is cached already.

        The source's size is checked even then: a truncated snapshot is refused on every machine alike. A
        cached copy is hashed again, which also brings it into memory; a damaged one is replaced.
        Raises: Corrupt naming the file and what differs; OSError where the disk fails.
        Cost: one read of the file, or one read and one write.
        """
        check_size(source, size_bytes)
        path = self._directory / sha256
        if _hash_of(path) == sha256:
            os.utime(path)  # evict() takes the least recently fetched first
            return path
        self._copy(source, sha256, path)
        return path

    def evict(self, keep: Collection[str], max_bytes: int) -> int:
        """Remove the least recently fetched files until those not kept have at most `max_bytes`.

        Return how many went. Processes that have one mapped keep reading it.
        """
        entries = [(path.stat(), path) for path in self._directory.iterdir() if len(path.name) == 64]
        others = sorted(
            (stat.st_mtime_ns, stat.st_size, path) for stat, path in entries if path.name not in keep
        )
        excess = sum(size for _, size, _ in others) - max_bytes
        removed = 0
        for _, size, path in others:
            if excess <= 0:
                break
            path.unlink(missing_ok=True)
            excess -= size
            removed += 1
        return removed

    def _copy(self, source: Path, sha256: str, path: Path) -> None:
        """Copy and hash in one pass; the name appears only when all of it is on disk and right."""
        descriptor, name = tempfile.mkstemp(prefix=".copy-", dir=self._directory)
        copy = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as target, source.open("rb") as origin:
                self._remove_abandoned(os.fstat(descriptor).st_mtime)
                if _copy_hashed(origin, target) != sha256:
                    raise Corrupt(f"{source.name} differs from its SHA-256 in the manifest")
                target.flush()
                os.fsync(descriptor)
            copy.chmod(0o444)
            copy.rename(path)
        finally:
            copy.unlink(missing_ok=True)

    def _remove_abandoned(self, now_s: float) -> None:
        """Remove what killed processes left; `now_s` is the file system's own time."""
        for path in self._directory.glob(".copy-*"):
            try:
                if now_s - path.stat().st_mtime > ABANDONED_AFTER_S:
                    path.unlink()
            except FileNotFoundError:  # its owner renamed it, or another process cleans up as well
                continue


def check_size(source: Path, size_bytes: int) -> None:
    """Check that a file of a snapshot is there and whole. Raises: Corrupt."""
    try:
        actual = source.stat().st_size
    except FileNotFoundError as error:
        raise Corrupt(f"the snapshot has no {source.name}") from error
    if actual != size_bytes:
        raise Corrupt(f"{source.name} has {actual:,} bytes instead of {size_bytes:,}")


def _copy_hashed(origin: BinaryIO, target: BinaryIO) -> str:
    digest = hashlib.sha256()
    while block := origin.read(BLOCK_BYTES):
        digest.update(block)
        target.write(block)
    return digest.hexdigest()


def _hash_of(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return None
