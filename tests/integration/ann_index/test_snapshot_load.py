"""Loading a published snapshot: whatever was done to its files, it is either whole or refused."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np
import pytest
from forebay.errors import Corrupt, NotFound, NotUsable, Unavailable

from ann_index.manifest import FileFacts, Manifest
from ann_index.snapshot import load_snapshot
from ann_index.types import Metric
from registry.dtypes import Scalar
from runtime.engine_settings import AnnIndexSettings
from tests.support.snapshots import VECTORS, publish, spec

FILES = ["index.faiss", "keys.npy", "golden.npy", "manifest.json"]


@pytest.fixture
def published(tmp_path: Path) -> Path:
    publish(tmp_path / "movies", spec("1", factory="HNSW8"))
    return tmp_path / "movies" / "1"


def change(path: Path, edit: Callable[[bytes], bytes]) -> None:
    content = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(edit(content))


def resign(directory: Path, **fields: object) -> None:
    """Change what the manifest says, with right hashes, as a builder with a bug would."""
    manifest = Manifest.from_json((directory / "manifest.json").read_bytes())
    change(directory / "manifest.json", lambda _: manifest.model_copy(update=fields).to_json().encode())


def replace_file(directory: Path, name: str, content: bytes) -> None:
    change(directory / name, lambda _: content)
    manifest = Manifest.from_json((directory / "manifest.json").read_bytes())
    facts = FileFacts(sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))
    resign(directory, files={**manifest.files, name: facts})


def test_the_published_files_are_not_mapped_when_the_index_serves(published: Path, tmp_path: Path) -> None:
    snapshot = load_snapshot(published, tmp_path / "cache")
    mapped = Path("/proc/self/maps").read_text()
    assert str(published) not in mapped
    assert str(tmp_path / "cache") in mapped
    expected = snapshot.index.search(VECTORS[:50], 10)
    for name in FILES:
        change(published / name, lambda content: b"\0" * len(content))
    shutil.rmtree(published)
    shutil.rmtree(tmp_path / "cache")
    assert np.array_equal(snapshot.index.search(VECTORS[:50], 10).positions, expected.positions)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "edit",
    [
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1],
        lambda content: b"",
        lambda content: content + b"\0",
        lambda content: content[:-20] + bytes([content[-20] ^ 1]) + content[-19:],
        lambda content: bytes(len(content)),
    ],
    ids=["half", "one byte short", "empty", "one byte more", "one bit", "zeros"],
)
def test_a_snapshot_is_refused_when_a_file_was_changed(
    published: Path, tmp_path: Path, name: str, edit: Callable[[bytes], bytes]
) -> None:
    change(published / name, edit)
    with pytest.raises(Corrupt) as caught:
        load_snapshot(published, tmp_path / "cache")
    assert caught.value.message.startswith("index movies version 1: ")
    assert name in caught.value.message


@pytest.mark.parametrize("name", FILES)
def test_a_snapshot_is_refused_when_a_file_is_missing(published: Path, tmp_path: Path, name: str) -> None:
    (published / name).unlink()
    with pytest.raises(Corrupt, match=f"no {name}"):
        load_snapshot(published, tmp_path / "cache")


def test_a_snapshot_is_refused_when_files_of_another_version_lie_there(
    published: Path, tmp_path: Path
) -> None:
    publish(published.parent, spec("2", metric=Metric.INNER_PRODUCT, factory="HNSW8"))
    shutil.copyfile(published.parent / "2" / "golden.npy", tmp_path / "golden.npy")
    for name in ("index.faiss", "keys.npy"):
        content = (published.parent / "2" / name).read_bytes()
        change(published / name, lambda _, content=content: content)
    with pytest.raises(Corrupt, match=r"index\.faiss"):
        load_snapshot(published, tmp_path / "cache")


@pytest.mark.parametrize(("index", "version"), [("movies", "2"), ("books", "1")])
def test_a_snapshot_is_refused_when_it_lies_in_anothers_place(
    published: Path, tmp_path: Path, index: str, version: str
) -> None:
    place = tmp_path / index / version
    shutil.copytree(published, place)
    with pytest.raises(Corrupt, match="it is another"):
        load_snapshot(place, tmp_path / "cache")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"count": 299}, "300 rows, the manifest says 299"),
        ({"dimension": 9}, "8 dimensions, the manifest says 9"),
        ({"metric": Metric.INNER_PRODUCT}, "another metric"),
        ({"golden": ((0, 1), (1,))}, "golden answers differ in length"),
        ({"golden": ((0, 1),)}, "golden queries don't fit"),
        ({"golden": tuple(((0, 1, 2),) * 16)}, "golden queries find only"),
        ({"key_dtype": Scalar.STRING}, "names other files"),
    ],
)
def test_a_snapshot_is_refused_when_its_manifest_says_otherwise(
    published: Path, tmp_path: Path, fields: dict[str, object], message: str
) -> None:
    resign(published, **fields)
    with pytest.raises(Corrupt, match=message):
        load_snapshot(published, tmp_path / "cache")


def test_an_id_map_is_refused_when_the_file_holds_one(published: Path, tmp_path: Path) -> None:
    index = faiss.IndexIDMap2(faiss.IndexFlatL2(8))
    index.add_with_ids(VECTORS, np.arange(300))
    replace_file(published, "index.faiss", faiss.serialize_index(index).tobytes())
    with pytest.raises(Corrupt, match="IndexIDMap2: only flat, HNSW and IVF"):
        load_snapshot(published, tmp_path / "cache")


def test_a_snapshot_is_refused_when_its_keys_are_fewer(published: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "keys.npy", np.arange(299))
    replace_file(published, "keys.npy", (tmp_path / "keys.npy").read_bytes())
    with pytest.raises(Corrupt, match="299 keys, the manifest says 300"):
        load_snapshot(published, tmp_path / "cache")


def test_what_faiss_cannot_read_is_refused_when_the_hash_is_right(published: Path, tmp_path: Path) -> None:
    content = (published / "index.faiss").read_bytes()
    for cut in (0, 4, 40, len(content) // 2):
        replace_file(published, "index.faiss", content[:cut])
        with pytest.raises(Corrupt, match="FAISS can't read"):
            load_snapshot(published, tmp_path / "cache")


def test_the_version_is_not_found_when_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="index movies has no version 9"):
        load_snapshot(tmp_path / "movies" / "9", tmp_path / "cache")


def test_a_snapshot_is_not_usable_when_it_is_larger_than_allowed(published: Path, tmp_path: Path) -> None:
    with pytest.raises(NotUsable, match="max_file_bytes is 100"):
        load_snapshot(published, tmp_path / "cache", AnnIndexSettings(max_file_bytes=100))


def test_loading_fails_as_unavailable_when_the_cache_cannot_be_written(
    published: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable):
        load_snapshot(published, tmp_path / "file" / "cache")


def test_the_last_snapshots_files_go_when_the_cache_is_full(published: Path, tmp_path: Path) -> None:
    publish(published.parent, spec("2", metric=Metric.COSINE))
    load_snapshot(published, tmp_path / "cache")
    second = load_snapshot(published.parent / "2", tmp_path / "cache", AnnIndexSettings(cache_max_bytes=0))
    kept = {facts.sha256 for facts in second.manifest.files.values()}
    assert {path.name for path in (tmp_path / "cache").iterdir()} == kept


def test_a_digest_is_checked_when_only_white_space_was_changed(published: Path, tmp_path: Path) -> None:
    change(published / "manifest.json", lambda content: json.dumps(json.loads(content)).encode())
    assert load_snapshot(published, tmp_path / "cache").index.count == 300
