"""What manifest.json holds, refuses, and says of a bar."""

import json

import pytest
from forebay.errors import Corrupt

from ann_index.manifest import FileFacts, LatencyFacts, Manifest, RecallFacts
from ann_index.types import Metric
from registry.definitions import PublishIf
from registry.dtypes import Scalar

FILE = FileFacts(sha256="0" * 64, size_bytes=3)


def manifest(recall: float = 0.97, bound: float = 0.96, p99_us: float = 900.0) -> Manifest:
    return Manifest(
        format_version=1,
        index="movies",
        version="7",
        created_at_us=1,
        count=2,
        dimension=3,
        dtype="float32",
        metric=Metric.COSINE,
        entity="movie",
        key_field="movie_id",
        key_dtype=Scalar.INT64,
        space="taste",
        factory="HNSW32",
        parameters={"effort": 24},
        recall=RecallFacts(value=recall, bound=bound, queries=1000, k=10),
        latency=LatencyFacts(p50_us=100.0, p99_us=p99_us, searches=500),
        batch="batch-1",
        source="movie_profile.embedding",
        files={"index.faiss": FILE, "golden.npy": FILE, "keys.npy": FILE},
        golden=((0, 1), (1, 0)),
    )


def test_a_manifest_is_the_same_when_written_and_read() -> None:
    assert Manifest.from_json(manifest().to_json()) == manifest()
    assert manifest().effort == 24


@pytest.mark.parametrize(
    ("bar", "reasons"),
    [
        (PublishIf(), []),
        (PublishIf(recall_at_10=0.96, p99_ms=0.9), []),
        (PublishIf(recall_at_10=0.965), ["recall_at_10"]),
        (PublishIf(recall_at_10=0.98, p99_ms=0.5), ["recall_at_10", "p99"]),
    ],
)
def test_a_snapshot_says_why_when_it_misses_the_bar(bar: PublishIf, reasons: list[str]) -> None:
    sentences = manifest().shortfalls(bar)
    assert [word for word in reasons if any(word in sentence for sentence in sentences)] == reasons
    assert len(sentences) == len(reasons)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"count": 3}, "digest differs"),
        ({"digest": "0" * 64}, "digest differs"),
        ({"format_version": 2}, "format version"),
    ],
)
def test_a_manifest_is_refused_when_it_was_changed(change: dict[str, object], message: str) -> None:
    body = json.loads(manifest().to_json()) | change
    with pytest.raises(Corrupt, match=message):
        Manifest.from_json(json.dumps(body))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"format_version": 1}', "[" * 100_000])
def test_a_manifest_is_refused_when_it_is_none(text: str) -> None:
    with pytest.raises(Corrupt):
        Manifest.from_json(text)


@pytest.mark.parametrize(
    "change",
    [
        {"files": {"../../etc/passwd": FILE}},
        {"files": {"index.faiss": FILE, "golden.npy": FILE}},
        {"key_dtype": Scalar.STRING},
    ],
)
def test_a_manifest_is_refused_when_it_names_other_files(change: dict[str, object]) -> None:
    text = manifest().model_copy(update=change).to_json()
    with pytest.raises(Corrupt, match="names other files"):
        Manifest.from_json(text)


def test_a_manifest_is_refused_when_a_hash_could_be_a_path() -> None:
    evil = FileFacts.model_construct(sha256="../" * 20 + "x", size_bytes=3)
    text = manifest().model_copy(update={"files": {"index.faiss": evil}}).to_json()
    with pytest.raises(Corrupt, match="sha256"):
        Manifest.from_json(text)
