"""A kept answer as bytes in the store: a fixed header, then its body. A request that wants fewer rows than it
holds, or fewer features, gets a part of it: `shortened`."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from zlib import crc32

from forebay.errors import Corrupt
from forebay.v1 import prediction_pb2 as pb
from forebay.v1 import values_pb2
from google.protobuf.message import DecodeError

from gateway.convert import WIRE_DTYPES
from gateway.kept_answer import KeptAnswer

_FORMAT = 1
_DEGRADED = 1
_HEADER = struct.Struct("<BBIqqqI")  # format, flags, rows, release, made, stale at, checksum of the body
_ITEM_BYTES = {number: scalar.numpy.itemsize for scalar, number in WIRE_DTYPES.items()}


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """A kept answer, and how many rows it ranks."""

    kept: KeptAnswer
    row_count: int


def packed(stored: StoredAnswer) -> bytes:
    """Return a kept answer as the store holds it."""
    kept = stored.kept
    flags = _DEGRADED if kept.degraded else 0
    header = _HEADER.pack(
        _FORMAT,
        flags,
        stored.row_count,
        kept.release,
        kept.made_us,
        kept.stale_at_us,
        crc32(kept.body),
    )
    return header + kept.body


def unpacked(raw: bytes) -> StoredAnswer:
    """Return what `packed` made bytes of. Raises: Corrupt. Cost: one copy of the body, and its checksum."""
    if len(raw) < _HEADER.size:
        raise Corrupt(f"a kept answer has {len(raw)} bytes, fewer than its header")
    form, flags, rows, release, made_us, stale_at_us, checksum = _HEADER.unpack_from(raw)
    if form != _FORMAT:
        raise Corrupt(f"a kept answer is of format {form}; this version reads {_FORMAT}")
    body = raw[_HEADER.size :]
    if crc32(body) != checksum:
        raise Corrupt("a kept answer's bytes differ from their checksum")
    return StoredAnswer(KeptAnswer(body, release, made_us, stale_at_us, bool(flags & _DEGRADED)), rows)


def shortened(kept: KeptAnswer, top: int, features: Sequence[str]) -> KeptAnswer:
    """Return the answer's first `top` rows with these of its features.

    Raises: Corrupt where the body is no answer, or lacks one of these features.
    Cost: parses the body and writes it again.
    """
    try:
        response = pb.PredictResponse.FromString(kept.body)
    except DecodeError as error:
        raise Corrupt("a kept answer's body is no answer") from error
    held = {column.name: column for column in response.features}
    if not held.keys() >= set(features):
        raise Corrupt("a kept answer lacks a feature that it was made with")
    shorter = pb.PredictResponse(
        entities=response.entities,
        scores=response.scores,
        features=[held[name] for name in features],
        degradations=response.degradations,
        provenance=response.provenance,
    )
    for column in (*shorter.entities, *shorter.scores, *shorter.features):
        _cut(column, top)
    return replace(kept, body=shorter.SerializeToString())


def _cut(column: values_pb2.Column, top: int) -> None:
    values = column.values
    if not values.shape or values.shape[0] <= top:
        return
    count = _elements(values, top)
    values.shape[0] = top
    del values.strings[count:]
    values.data = values.data[: count * _ITEM_BYTES.get(values.dtype, 0)]
    del values.offsets[top + 1 :]
    column.statuses = column.statuses[:top]


def _elements(values: values_pb2.Tensor, rows: int) -> int:
    """Return how many elements the first `rows` have together."""
    if len(values.offsets) > rows:
        return values.offsets[rows]
    return rows * math.prod(values.shape[1:])
