"""FindSimilar: the entities closest to a vector or to another entity. Transport-free."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from forebay.deadline import Deadline
from forebay.errors import InvalidRequest, NotFound
from forebay.v1 import values_pb2 as pb
from numpy.typing import NDArray

from ann_index.snapshot import Snapshot
from gateway.convert import values_of
from gateway.inputs import InputField, parse_value
from gateway.plan import CompiledRelease
from registry.dtypes import DType, Scalar
from runtime.offload import Estimate, Offload

MAX_K = 10_000


@dataclass(frozen=True, slots=True)
class Similar:
    """Entities in rank order: their keys, and scores of which a higher one is closer."""

    key_name: str
    key_scalar: Scalar
    keys: NDArray[np.int64] | list[str]
    scores: NDArray[np.float32]
    version: str


class SimilaritySearch:
    """Searches the indexes of a release by vector or by entity."""

    def __init__(self, offload: Offload) -> None:
        self._offload = offload
        self._estimates: dict[str, Estimate] = {}

    async def find(
        self,
        release: CompiledRelease,
        index: str,
        vector: pb.Tensor | None,
        key: Mapping[str, pb.Value],
        k: int,
        deadline: Deadline,
    ) -> Similar:
        """Return the `k` closest entities, fewer when the index holds fewer; never the entity asked by.

        Raises: InvalidRequest, NotFound, NotUsable; DeadlineExceeded.
        """
        snapshot = release.snapshot(index)
        if not 1 <= k <= MAX_K:
            raise InvalidRequest(f"k: must be 1 to {MAX_K}", field="k")
        if (vector is None) == (not key):
            raise InvalidRequest("give exactly one of vector and key", field="vector")
        exclude: list[NDArray[np.int64]] | None = None
        if vector is not None:
            query = _vector(vector, snapshot)
        else:
            position = _position(key, index, snapshot)
            query, exclude = snapshot.index.vectors(position), [position]
        estimate = self._estimates.get(index)
        if estimate is None:
            self._estimates = {name: one for name, one in self._estimates.items() if name in release.indexes}
            estimate = self._estimates[index] = Estimate()
        found = await self._offload.run(
            estimate, 1, deadline, lambda: snapshot.index.search(query, k, exclude)
        )
        positions = found.positions[0][found.positions[0] >= 0]
        return Similar(
            key_name=snapshot.manifest.key_field,
            key_scalar=snapshot.manifest.key_dtype,
            keys=snapshot.keys.values(positions),
            scores=found.scores[0][: len(positions)],
            version=snapshot.manifest.version,
        )


def _vector(message: pb.Tensor, snapshot: Snapshot) -> NDArray[np.float32]:
    """Return (1, dimension) float32."""
    values, scalar = values_of(message, "vector")
    dimension = snapshot.index.dimension
    if not isinstance(values, np.ndarray) or not (scalar.is_float or scalar.is_integer):
        raise InvalidRequest("vector: must be a tensor of numbers", field="vector")
    if values.shape not in ((dimension,), (1, dimension)):
        raise InvalidRequest(
            f"vector: the index holds vectors of {dimension} elements, not of shape {list(values.shape)}",
            field="vector",
        )
    return values.reshape(1, dimension).astype(np.float32)


def _position(key: Mapping[str, pb.Value], index: str, snapshot: Snapshot) -> NDArray[np.int64]:
    """Return (1,) int64, where the entity is in the index."""
    name, dtype = snapshot.manifest.key_field, DType(snapshot.manifest.key_dtype)
    if set(key) != {name}:
        raise InvalidRequest(f"key: index {index} is of entities with the key field {name}", field="key")
    value = parse_value(key[name], InputField(name, dtype, is_key=True))
    if value is None:
        raise InvalidRequest(f"key.{name}: must not be null", field=f"key.{name}")
    values = [value] if isinstance(value, str) else np.array([value], np.int64)
    positions = snapshot.keys.positions(values)
    if positions[0] < 0:
        raise NotFound(f"index {index} has no such entity", field="key")
    return positions
