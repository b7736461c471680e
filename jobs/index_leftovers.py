"""Snapshots that a refresh built and never published: of no use to anybody, since the rows that they were
built from are gone."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from forebay.errors import Corrupt

from ann_index.snapshot import index_directory, list_versions, read_manifest


def sweep_snapshots(
    artifacts: Path, app: str, indexes: Iterable[str], batch: str, before: int | None = None
) -> list[Path]:
    """Remove the versions of these indexes that were built from a batch, `before` a version where one is
    given; return their directories.

    Only for versions that were never live: `forebay index build` makes later ones of live rows, and they are
    of their batch too. Cost: blocking; reads every version's manifest.
    """
    removed: list[Path] = []
    for index in indexes:
        directory = index_directory(artifacts, app, index)
        for version in list_versions(directory):
            is_before = before is None or (version.isdecimal() and int(version) < before)
            if is_before and _batch_of(directory / version) == batch:
                removed.append(directory / version)
                shutil.rmtree(directory / version)
    return removed


def _batch_of(snapshot: Path) -> str | None:
    try:
        return read_manifest(snapshot).batch
    except Corrupt:
        return None  # not known to be ours
