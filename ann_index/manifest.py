"""What a snapshot says of itself: manifest.json. It is written last, and carries the hash of every other
file and its own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from forebay.errors import Corrupt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ann_index.artifact_cache import check_size
from ann_index.entity_keys import key_file_names
from ann_index.types import Metric
from registry.definitions import Index, PublishIf
from registry.dtypes import Scalar

FORMAT_VERSION = 1
MANIFEST_FILE = "manifest.json"
INDEX_FILE = "index.faiss"
GOLDEN_FILE = "golden.npy"
MAX_MANIFEST_BYTES = 1 << 22

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]


class Part(BaseModel):
    """A part of the manifest: frozen, and unknown names are mistakes."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class FileFacts(Part):
    """A file of the snapshot."""

    sha256: Sha256
    size_bytes: int = Field(ge=0)


class RecallFacts(Part):
    """recall@k measured on queries that the search wasn't tuned with; `bound` holds with 95% confidence."""

    value: float = Field(ge=0, le=1)
    bound: float = Field(ge=0, le=1)
    queries: int = Field(ge=1)
    k: int = Field(ge=1)


class LatencyFacts(Part):
    """Microseconds of single searches for ten, measured where the snapshot was built."""

    p50_us: float = Field(ge=0)
    p99_us: float = Field(ge=0)
    searches: int = Field(ge=1)


class Manifest(Part):
    """Everything about a snapshot but its arrays."""

    format_version: Literal[1]
    index: Name
    version: Name
    created_at_us: int
    count: int = Field(ge=1)
    dimension: int = Field(ge=1)
    dtype: Literal["float32"]
    metric: Metric
    entity: str
    key_field: str
    key_dtype: Scalar
    space: str
    """The embedding's basis; what shares a space is published together. Empty: none declared."""
    factory: str
    parameters: Mapping[str, int]
    """`effort` is what it is searched with: efSearch or nprobe. `build_effort` is efConstruction."""
    recall: RecallFacts
    latency: LatencyFacts
    batch: str
    """The batch whose vectors these are, as the builder named it."""
    source: str
    files: Mapping[str, FileFacts]
    golden: tuple[tuple[int, ...], ...]
    """Positions that each query in golden.npy found when the snapshot was built."""

    def shortfalls(self, publish_if: PublishIf) -> list[str]:
        """Return why the snapshot doesn't meet the bar: one sentence each; empty when it does."""
        reasons = []
        recall, latency = self.recall, self.latency
        if publish_if.recall_at_10 is not None and recall.bound < publish_if.recall_at_10:
            reasons.append(
                f"recall_at_10 is {recall.value:.4f}, at least {recall.bound:.4f} with 95% confidence "
                f"({recall.queries} queries); {publish_if.recall_at_10:g} is required"
            )
        if publish_if.p99_ms is not None and latency.p99_us > publish_if.p99_ms * 1000:
            reasons.append(
                f"p99 of a single search is {latency.p99_us / 1000:.3f} ms; {publish_if.p99_ms:g} is allowed"
            )
        return reasons

    def misfit(self, declared: Index) -> str:
        """Return why the snapshot is not of the index as it is declared now; empty when it is."""
        for what, built, wanted in (
            ("metric", self.metric.value, declared.metric),
            ("entity", self.entity, declared.entity),
        ):
            if built != wanted:
                return (
                    f"version {self.version} was built for the {what} {built}, and {wanted} is declared: "
                    f"run `forebay index build {self.index}`"
                )
        return ""

    @property
    def effort(self) -> int:
        """efSearch or nprobe; 0 for an exact index."""
        return self.parameters.get("effort", 0)

    @property
    def file_names(self) -> tuple[str, ...]:
        """The files that a snapshot of these keys consists of, besides the manifest."""
        return (INDEX_FILE, GOLDEN_FILE, *key_file_names(self.key_dtype))

    def to_json(self) -> str:
        """Return the manifest as a file's text, its own hash included."""
        body = self.model_dump(mode="json")
        return json.dumps(body | {"digest": _digest(body)}, indent=2, sort_keys=True)

    @classmethod
    def from_json(cls, text: str | bytes) -> Manifest:
        """Return the manifest that `to_json` wrote. Raises: Corrupt naming what differs."""
        try:
            body = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise Corrupt(f"{MANIFEST_FILE} isn't JSON") from error
        if not isinstance(body, dict):
            raise Corrupt(f"{MANIFEST_FILE} isn't a JSON object")
        if body.get("format_version") != FORMAT_VERSION:
            raise Corrupt(f"{MANIFEST_FILE} has another format version than {FORMAT_VERSION}")
        if body.pop("digest", None) != _digest(body):
            raise Corrupt(f"{MANIFEST_FILE} was changed after it was written: its digest differs")
        try:
            manifest = cls.model_validate(body)
        except ValidationError as error:
            fields = ", ".join(".".join(map(str, details["loc"])) for details in error.errors())
            raise Corrupt(f"{MANIFEST_FILE} has wrong fields: {fields}") from error
        if sorted(manifest.files) != sorted(manifest.file_names):
            raise Corrupt(f"{MANIFEST_FILE} names other files than {', '.join(manifest.file_names)}")
        return manifest


def read_manifest(directory: Path) -> Manifest:
    """Return the manifest of the snapshot in `directory`. Raises: Corrupt, also where there is none."""
    try:
        with (directory / MANIFEST_FILE).open("rb") as file:
            text = file.read(MAX_MANIFEST_BYTES + 1)
    except FileNotFoundError as error:
        raise Corrupt(f"the snapshot has no {MANIFEST_FILE}") from error
    if len(text) > MAX_MANIFEST_BYTES:
        raise Corrupt(f"{MANIFEST_FILE} is larger than {MAX_MANIFEST_BYTES:,} bytes")
    return Manifest.from_json(text)


def check_files(directory: Path, manifest: Manifest) -> None:
    """Check that the snapshot's files are there and as long as its manifest says; a load also hashes them.

    Raises: Corrupt.
    """
    for name, facts in manifest.files.items():
        check_size(directory / name, facts.size_bytes)


def _digest(body: Mapping[str, object]) -> str:
    text = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
