"""Entity keys into text, and text into row keys: `f{<entity id>:<text>}<view id>:<generation>`. The braces
are Redis Cluster's hash tag, so that all rows of an entity lie on one node. Escaping is in
registry/key_text.py.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from forebay.errors import InvalidRequest
from numpy.typing import NDArray

from feature_store.types import KeyField
from registry.dtypes import Scalar
from registry.key_text import MAX_KEY_BYTES, SEPARATOR, integer_texts, string_texts

KeyColumn = NDArray[Any] | Sequence[Any]

_DECIMAL = re.compile(r"0|-?[1-9][0-9]{0,18}")
_LIMITS = {Scalar.INT32: 2**31, Scalar.INT64: 2**63}
_BETWEEN = "{{"
"""Stands between row keys while they are one text; a text holds no brace, and a key no two together."""


def canonical_texts(fields: Sequence[KeyField], columns: Sequence[KeyColumn], within: str = "") -> list[str]:
    """Return one text per row; equal texts exactly where all fields are equal.

    `columns` has one column per field, in the fields' order: integers or their decimal text for an integer
    field (3, np.int32(3) and "3" are one key), text for a string field. Strings are taken as they are: not
    trimmed, not normalised; at most MAX_KEY_BYTES in UTF-8, and not empty. `within` is the part of a request
    that the columns are of ("keys"): errors name `keys.user_id` then.

    Raises: InvalidRequest naming the field, for a wrong type, an integer out of range, text that is no
    decimal, an empty or too long string, columns of different lengths. Cost: for integers about 0.1 us per
    key.
    """
    try:
        return _texts(fields, columns)
    except InvalidRequest:
        if not within:
            raise
    return _texts([KeyField(f"{within}.{field.name}", field.dtype) for field in fields], columns)


def _texts(fields: Sequence[KeyField], columns: Sequence[KeyColumn]) -> list[str]:
    if len(columns) != len(fields):
        names = ", ".join(field.name for field in fields)
        raise InvalidRequest(f"{len(columns)} key columns are given; the key is {names}")
    texts = [_field_texts(field, column) for field, column in zip(fields, columns, strict=True)]
    if len(texts) == 1:
        return texts[0]
    for field, column in zip(fields, texts, strict=True):
        if len(column) != len(texts[0]):
            raise InvalidRequest(
                f"key field {field.name} has {len(column)} values, {fields[0].name} has {len(texts[0])}",
                field=field.name,
            )
    return list(map(SEPARATOR.join, zip(*texts, strict=True)))


class RowKeys:
    """Makes the row keys of one generation of a view."""

    def __init__(self, entity_id: int, view_id: int, generation: int) -> None:
        self._before = f"f{{{entity_id}:"
        self._after = f"}}{view_id}:{generation}"
        self._joint = self._after + _BETWEEN + self._before

    def of(self, texts: Sequence[str]) -> list[bytes]:
        """Return the row key of each canonical text. Cost: three passes in C, no Python step per key."""
        if not texts:
            return []
        joined = self._before + self._joint.join(texts) + self._after
        return joined.encode().split(_BETWEEN.encode())


def row_keys(entity_id: int, view_id: int, generation: int, texts: Sequence[str]) -> list[bytes]:
    """Return the key under which each entity's row is stored; `texts` as canonical_texts makes them."""
    return RowKeys(entity_id, view_id, generation).of(texts)


def _field_texts(field: KeyField, column: KeyColumn) -> list[str]:
    wanted = field.dtype.scalar
    if isinstance(column, np.ndarray):
        if column.dtype.kind == "i" and column.ndim == 1 and wanted is Scalar.INT64:
            return integer_texts(column.tolist())
        column = column.tolist()
    values: list[Any] = list(column)
    kinds = set(map(type, values))
    if wanted is Scalar.STRING:
        return _checked_strings(field, values, kinds)
    if kinds == {str}:
        values = _integers(field, values)
    elif not kinds <= {int}:
        values = _mixed_integers(field, values)
    if values:
        _check_range(field, min(values), max(values))
    return integer_texts(values)


def _checked_strings(field: KeyField, values: list[Any], kinds: set[type]) -> list[str]:
    if not kinds <= {str}:
        raise _wrong(field, "must be text")
    if "" in values:
        raise _wrong(field, "must not be empty")
    if values and max(map(len, values)) * 4 > MAX_KEY_BYTES:
        _check_bytes(field, values)
    texts = string_texts(values)
    try:
        "".join(texts).encode()
    except UnicodeEncodeError as error:
        raise _wrong(field, "must be text that UTF-8 can write") from error
    return texts


def _check_bytes(field: KeyField, values: list[str]) -> None:
    if max(len(value.encode("utf-8", "replace")) for value in values) > MAX_KEY_BYTES:
        raise _wrong(field, f"must have at most {MAX_KEY_BYTES} bytes")


def _integers(field: KeyField, values: list[str]) -> list[int]:
    if not all(map(_DECIMAL.fullmatch, values)):
        raise _wrong(field, "must be an integer")
    return list(map(int, values))


def _mixed_integers(field: KeyField, values: list[Any]) -> list[int]:
    """Return Python integers for a list that holds text or numpy integers among them."""
    plain = [value.item() if isinstance(value, np.integer) else value for value in values]
    if not set(map(type, plain)) <= {int, str}:
        raise _wrong(field, "must be an integer")
    return _integers(field, list(map(str, plain)))


def _check_range(field: KeyField, least: int, greatest: int) -> None:
    limit = _LIMITS[field.dtype.scalar]
    if least < -limit or greatest >= limit:
        raise _wrong(field, f"must be within the range of {field.dtype}")


def _wrong(field: KeyField, rule: str) -> InvalidRequest:
    return InvalidRequest(f"key field {field.name} {rule}", field=field.name)
