"""Loads a published snapshot: every file copied into the cache while it is hashed, mapped from there,
compared with the manifest, and asked its golden queries, before anybody is served from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from forebay.errors import Corrupt, NotFound, NotUsable, Unavailable

from ann_index.artifact_cache import ArtifactCache
from ann_index.entity_keys import EntityKeys, load_array, load_keys
from ann_index.faiss_index import FaissIndex
from ann_index.faiss_library import read_index
from ann_index.manifest import GOLDEN_FILE, INDEX_FILE, Manifest, read_manifest
from runtime.engine_settings import AnnIndexSettings

GOLDEN_AGREEMENT = 0.95
"""Share of golden neighbours that must be found again; another processor may round near ties otherwise."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An index ready to be searched, and whose rows they are."""

    manifest: Manifest
    index: FaissIndex
    keys: EntityKeys


def load_snapshot(directory: Path, cache: Path, settings: AnnIndexSettings | None = None) -> Snapshot:
    """Return the snapshot published in `directory` (`.../indexes/<name>/<version>`), ready to be searched.

    Raises: NotFound where there is no such version; Corrupt naming what differs from the manifest; NotUsable
    where a file is larger than the settings allow; Unavailable where the disk fails.
    Cost: blocks for one read of all files (and one write, the first time on a machine); run it in a thread.
    Memory: vectors are mapped and shared by the machine's processes; a graph's links are copied.
    """
    limits = settings or AnnIndexSettings()
    try:
        manifest = _checked_manifest(directory)
        store = ArtifactCache(cache)
        paths = {name: _fetched(store, directory / name, manifest, limits) for name in manifest.file_names}
        snapshot = open_snapshot(manifest, paths)
        store.evict({facts.sha256 for facts in manifest.files.values()}, limits.cache_max_bytes)
    except OSError as error:
        raise Unavailable(f"can't load {_label(directory)}: {error.strerror}") from error
    except Corrupt as error:
        raise Corrupt(f"{_label(directory)}: {error.message}") from error
    return snapshot


def open_snapshot(manifest: Manifest, paths: Mapping[str, Path]) -> Snapshot:
    """Return the snapshot in these files, whose hashes are right. Raises: Corrupt naming what differs."""
    index = FaissIndex(read_index(paths[INDEX_FILE]), manifest.metric, manifest.effort)
    keys = load_keys(manifest.key_dtype, paths)
    for fact, actual, stated in (
        ("rows", index.count, manifest.count),
        ("keys", keys.count, manifest.count),
        ("dimensions", index.dimension, manifest.dimension),
    ):
        if actual != stated:
            raise Corrupt(f"there are {actual:,} {fact}, the manifest says {stated:,}")
    snapshot = Snapshot(manifest, index, keys)
    _ask_golden_queries(snapshot, paths[GOLDEN_FILE])
    return snapshot


def _checked_manifest(directory: Path) -> Manifest:
    if not directory.is_dir():
        raise NotFound(f"index {directory.parent.name} has no version {directory.name}")
    manifest = read_manifest(directory)
    for fact, stated, expected in (
        ("index", manifest.index, directory.parent.name),
        ("version", manifest.version, directory.name),
    ):
        if stated != expected:
            raise Corrupt(f"it is another {fact}'s snapshot: its manifest says {stated}")
    return manifest


def _fetched(store: ArtifactCache, source: Path, manifest: Manifest, limits: AnnIndexSettings) -> Path:
    facts = manifest.files[source.name]
    if facts.size_bytes > limits.max_file_bytes:
        raise NotUsable(
            f"{_label(source.parent)}: {source.name} has {facts.size_bytes:,} bytes, "
            f"max_file_bytes is {limits.max_file_bytes:,}"
        )
    return store.fetch(source, facts.sha256, facts.size_bytes)


def _ask_golden_queries(snapshot: Snapshot, path: Path) -> None:
    """Compare what the index finds with what it found when it was built. Raises: Corrupt."""
    queries = load_array(path, np.dtype(np.float32), 2)
    try:
        expected = np.array(snapshot.manifest.golden, np.int64)  # (queries, k) int64
    except ValueError as error:
        raise Corrupt("the manifest's golden answers differ in length") from error
    if expected.ndim != 2 or len(queries) != len(expected) or queries.shape[1] != snapshot.index.dimension:
        raise Corrupt("the golden queries don't fit their answers or the index")
    found = snapshot.index.search(np.asarray(queries, np.float32), expected.shape[1]).positions
    agreeing = sum(len(np.intersect1d(one, other)) for one, other in zip(found, expected, strict=True))
    if agreeing < GOLDEN_AGREEMENT * expected.size:
        raise Corrupt(f"the golden queries find only {agreeing} of the {expected.size} rows they should")


def _label(directory: Path) -> str:
    return f"index {directory.parent.name} version {directory.name}"
