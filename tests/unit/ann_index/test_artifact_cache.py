"""The content-addressed cache."""

import hashlib
import os
from pathlib import Path

import pytest
from forebay.errors import Corrupt

from ann_index.artifact_cache import ABANDONED_AFTER_S, ArtifactCache

CONTENT = b"content" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "index.faiss"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def cache(tmp_path: Path) -> ArtifactCache:
    return ArtifactCache(tmp_path / "cache")


def test_a_file_is_copied_private_and_read_only_when_fetched(source: Path, cache: ArtifactCache) -> None:
    path = cache.fetch(source, SHA256, len(CONTENT))
    assert path.read_bytes() == CONTENT
    assert path.name == SHA256
    assert path.stat().st_mode & 0o777 == 0o444
    assert path.parent.stat().st_mode & 0o077 == 0
    assert path.stat().st_ino != source.stat().st_ino


def test_the_copy_is_used_again_when_it_is_there(source: Path, cache: ArtifactCache) -> None:
    first = cache.fetch(source, SHA256, len(CONTENT)).stat().st_ino
    assert cache.fetch(source, SHA256, len(CONTENT)).stat().st_ino == first


def test_a_damaged_copy_is_replaced_when_fetched_again(source: Path, cache: ArtifactCache) -> None:
    path = cache.fetch(source, SHA256, len(CONTENT))
    path.chmod(0o644)
    path.write_bytes(b"x" * len(CONTENT))
    assert cache.fetch(source, SHA256, len(CONTENT)).read_bytes() == CONTENT


@pytest.mark.parametrize("is_cached", [False, True])
def test_a_truncated_source_is_refused_when_fetched(
    source: Path, cache: ArtifactCache, is_cached: bool
) -> None:
    if is_cached:
        cache.fetch(source, SHA256, len(CONTENT))
    source.write_bytes(CONTENT[:-1])
    with pytest.raises(Corrupt, match="6,999 bytes instead of 7,000"):
        cache.fetch(source, SHA256, len(CONTENT))


def test_nothing_stays_when_the_source_has_another_hash(
    source: Path, cache: ArtifactCache, tmp_path: Path
) -> None:
    source.write_bytes(CONTENT[:-1] + b"x")
    with pytest.raises(Corrupt, match="SHA-256"):
        cache.fetch(source, SHA256, len(CONTENT))
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_missing_source_is_refused_when_fetched(tmp_path: Path, cache: ArtifactCache) -> None:
    with pytest.raises(Corrupt, match=r"no index\.faiss"):
        cache.fetch(tmp_path / "index.faiss", SHA256, 1)


def test_remains_of_killed_processes_go_when_something_is_copied(
    source: Path, cache: ArtifactCache, tmp_path: Path
) -> None:
    old, fresh = tmp_path / "cache" / ".copy-old", tmp_path / "cache" / ".copy-fresh"
    for path in (old, fresh):
        path.write_bytes(b"half")
    long_ago_s = fresh.stat().st_mtime - ABANDONED_AFTER_S - 60
    os.utime(old, (long_ago_s, long_ago_s))
    cache.fetch(source, SHA256, len(CONTENT))
    assert fresh.exists()
    assert not old.exists()


def test_the_least_recently_fetched_go_when_there_are_too_many_bytes(
    cache: ArtifactCache, tmp_path: Path
) -> None:
    paths = []
    for number in range(4):
        content = bytes([number]) * 100
        source = tmp_path / "file"
        source.write_bytes(content)
        path = cache.fetch(source, hashlib.sha256(content).hexdigest(), 100)
        os.utime(path, (number, number))
        paths.append(path)
    assert cache.evict({paths[0].name}, max_bytes=150) == 2
    assert [path.exists() for path in paths] == [True, False, False, True]
    assert cache.evict({paths[0].name}, max_bytes=150) == 0
