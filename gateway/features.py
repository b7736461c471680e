"""Reading and writing feature rows by name, for FeatureService. Transport-free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from forebay.deadline import Deadline
from forebay.errors import InvalidRequest, NotFound
from numpy.typing import NDArray

from feature_store.codec import FeatureColumn, RowBlock, ViewReader
from feature_store.keys import canonical_texts
from feature_store.store import OnlineStore
from feature_store.types import KeyField
from gateway.plan import CompiledRelease
from registry.dtypes import Scalar
from runtime.clock import Clock

MAX_ROWS = 10_000
MAX_FEATURES = 10_000
MAX_VALUES = 2_000_000
"""The most values that one call reads, rows times features, an element of a fixed list being one: some ten
megabytes, and some ten milliseconds in which nobody else is answered."""

KeyColumns = Mapping[str, NDArray[np.generic] | list[str]]


@dataclass(frozen=True, slots=True)
class ReadColumn:
    """One feature of the rows read, in the order asked for."""

    name: str
    scalar: Scalar
    column: FeatureColumn
    block: RowBlock
    """The rows that the feature is one of."""


class FeatureReads:
    """Reads features by reference, all views in one round trip."""

    def __init__(self, store: OnlineStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def views(self, release: CompiledRelease, references: Sequence[str]) -> dict[str, ViewReader]:
        """Return the readers of the views that `references` name, which share one entity.

        Raises: InvalidRequest, NotFound.
        """
        if not 1 <= len(references) <= MAX_FEATURES:
            raise InvalidRequest(f"features: name 1 to {MAX_FEATURES} features", field="features")
        readers: dict[str, ViewReader] = {}
        for reference in references:
            view, _, feature = reference.rpartition(".")
            if not view:
                raise InvalidRequest(
                    f'features: {reference!r} is not of the form "view.feature"', field="features"
                )
            reader = readers.get(view)
            if reader is None:
                reader = readers[view] = _reader(release, view)
            if feature not in reader.features:
                raise NotFound(f"view {view} has no feature {feature!r}", field="features")
        keys = {reader.view.key for reader in readers.values()}
        if len(keys) > 1:
            raise InvalidRequest(
                f"features: views {', '.join(readers)} have different keys; read them apart",
                field="features",
            )
        return readers

    async def read(
        self,
        readers: Mapping[str, ViewReader],
        references: Sequence[str],
        keys: KeyColumns,
        deadline: Deadline,
    ) -> list[ReadColumn]:
        """Return one column per reference, a value and a status per entity.

        Raises: InvalidRequest naming `keys` for more than MAX_VALUES. Cost: one round trip.
        """
        _check_size(readers, references, keys)
        texts = canonical_texts(_key(readers), list(keys.values()))
        blocks = await self._blocks(readers, texts, deadline)
        columns = []
        for reference in references:
            view, _, feature = reference.rpartition(".")
            block = blocks[view]
            scalar = readers[view].features[feature].dtype.scalar
            columns.append(ReadColumn(reference, scalar, block.column(feature), block))
        return columns

    async def _blocks(
        self, readers: Mapping[str, ViewReader], texts: Sequence[str], deadline: Deadline
    ) -> dict[str, RowBlock]:
        wanted = [reader for reader in readers.values() if reader.published]
        row_keys = [key for reader in wanted for key in reader.row_keys(texts)]
        rows = await self._store.get_many(row_keys, deadline) if row_keys else []
        now_us = self._clock.now_us()
        blocks: dict[str, RowBlock] = {}
        for number, reader in enumerate(wanted):
            blocks[reader.view.name] = reader.decode(
                rows[number * len(texts) : (number + 1) * len(texts)], now_us
            )
        for name, reader in readers.items():
            if name not in blocks:
                blocks[name] = reader.decode([None] * len(texts), now_us)
        return blocks


def _check_size(readers: Mapping[str, ViewReader], references: Sequence[str], keys: KeyColumns) -> None:
    width = 0
    for reference in references:
        view, _, feature = reference.rpartition(".")
        width += max(1, readers[view].features[feature].dtype.length)
    row_count = max(map(len, keys.values()))
    if row_count * width > MAX_VALUES:
        raise InvalidRequest(
            f"keys: {row_count} rows of {width} values are more than the {MAX_VALUES} that one call reads; "
            "ask for fewer rows or features",
            field="keys",
        )


def _reader(release: CompiledRelease, view: str) -> ViewReader:
    try:
        return release.reader(view)
    except NotFound as error:
        raise NotFound(f"features: {view!r}: {error.message}", field="features") from error


def _key(readers: Mapping[str, ViewReader]) -> tuple[KeyField, ...]:
    return next(iter(readers.values())).view.key
