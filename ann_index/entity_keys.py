"""Which entity stands at which position of an index: single-field keys, integers or strings, ascending, so
that the order of positions is the order of keys. Arrays of our own; FAISS's id maps are not used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from forebay.errors import Corrupt, InvalidRequest
from numpy.typing import NDArray

from registry.dtypes import Scalar
from registry.key_text import MAX_KEY_BYTES, integer_texts, string_texts

INTEGERS_FILE = "keys.npy"
OFFSETS_FILE = "key_offsets.npy"
TEXT_FILE = "key_text.npy"

Keys = Sequence[int] | Sequence[str] | NDArray[np.int64]


class EntityKeys(Protocol):
    """The keys of all rows, by position. Positions passed in are those of a search, without its padding."""

    @property
    def count(self) -> int:
        """How many keys there are."""
        ...

    def values(self, positions: NDArray[np.int64]) -> NDArray[np.int64] | list[str]:
        """Return the keys at these positions. Raises: ValueError for -1, IndexError past the end."""
        ...

    def texts_of(self, positions: NDArray[np.int64]) -> list[str]:
        """Return the keys' canonical texts, as row keys carry them. Raises: as `values`.

        Cost: integers are written out at each call (0.1 us each) rather than held as strings (60 bytes each).
        """
        ...

    def positions(self, values: Keys) -> NDArray[np.int64]:
        """Return where each key stands, -1 where it doesn't. Raises: InvalidRequest naming `key`."""
        ...

    def files(self) -> Mapping[str, NDArray[np.int64] | NDArray[np.uint8]]:
        """Return the arrays that hold the keys, by the name of their file in a snapshot."""
        ...


class IntegerKeys:
    """Keys in one ascending int64 array, which may be mapped from a file."""

    def __init__(self, keys: NDArray[np.int64]) -> None:
        self._keys = np.asarray(keys)  # a plain view: indexing np.memmap costs more

    @property
    def count(self) -> int:
        return len(self._keys)

    def values(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        return self._keys[_checked(positions)]

    def texts_of(self, positions: NDArray[np.int64]) -> list[str]:
        return integer_texts(self.values(positions).tolist())

    def positions(self, values: Keys) -> NDArray[np.int64]:
        wanted = _integers(values, "key")
        if not len(self._keys):
            return np.full(len(wanted), -1, np.int64)
        places = np.searchsorted(self._keys, wanted)
        places[places == len(self._keys)] = 0
        return np.where(self._keys[places] == wanted, places, -1)

    def files(self) -> Mapping[str, NDArray[np.int64] | NDArray[np.uint8]]:
        return {INTEGERS_FILE: self._keys}


class StringKeys:
    """Keys as Python strings, with a dictionary back.

    Cost: about 150 bytes per key and process, and 0.5 s per million when made.
    """

    def __init__(self, keys: list[str]) -> None:
        self._keys = keys
        self._texts = string_texts(keys)  # the same strings where nothing is escaped
        self._places = {key: place for place, key in enumerate(keys)}

    @property
    def count(self) -> int:
        return len(self._keys)

    def values(self, positions: NDArray[np.int64]) -> list[str]:
        return [self._keys[place] for place in _checked(positions).tolist()]

    def texts_of(self, positions: NDArray[np.int64]) -> list[str]:
        return [self._texts[place] for place in _checked(positions).tolist()]

    def positions(self, values: Keys) -> NDArray[np.int64]:
        wanted = _strings(values, "key")
        return np.array([self._places.get(value, -1) for value in wanted], np.int64)

    def files(self) -> Mapping[str, NDArray[np.int64] | NDArray[np.uint8]]:
        encoded = [key.encode() for key in self._keys]
        offsets = np.zeros(len(encoded) + 1, np.int64)
        np.cumsum([len(key) for key in encoded], out=offsets[1:])
        return {OFFSETS_FILE: offsets, TEXT_FILE: np.frombuffer(b"".join(encoded), np.uint8)}


def key_file_names(dtype: Scalar) -> tuple[str, ...]:
    """Return the files of a snapshot that hold keys of this type."""
    return (OFFSETS_FILE, TEXT_FILE) if dtype is Scalar.STRING else (INTEGERS_FILE,)


def sorted_keys(values: Keys, dtype: Scalar) -> tuple[EntityKeys, NDArray[np.int64]]:
    """Return the keys in ascending order, and for each position the row of `values` that it came from.

    Raises: InvalidRequest naming `keys`: of another type, out of range, or more than once.
    """
    if dtype is Scalar.STRING:
        return _sorted_strings(values)
    if not dtype.is_integer:
        raise InvalidRequest(f"an index's keys are integers or strings, not {dtype.value}", field="keys")
    integers = _integers(values, "keys")
    limits = np.iinfo(np.int32 if dtype is Scalar.INT32 else np.int64)
    if len(integers) and (integers.min() < limits.min or integers.max() > limits.max):
        raise InvalidRequest(f"a key doesn't fit {dtype.value}", field="keys")
    order = np.argsort(integers, kind="stable")
    ascending = integers[order]
    _refuse_duplicates(ascending[1:] == ascending[:-1])
    return IntegerKeys(ascending), order


def load_keys(dtype: Scalar, paths: Mapping[str, Path]) -> EntityKeys:
    """Return the keys held in a snapshot's files, by name: integers mapped, strings read.

    Raises: Corrupt.
    """
    if dtype is not Scalar.STRING:
        return IntegerKeys(load_array(paths[INTEGERS_FILE], np.dtype(np.int64), 1))
    offsets = load_array(paths[OFFSETS_FILE], np.dtype(np.int64), 1)
    text = load_array(paths[TEXT_FILE], np.dtype(np.uint8), 1).tobytes()
    try:
        ends = offsets.tolist()
        return StringKeys([text[start:end].decode() for start, end in pairwise(ends)])
    except UnicodeDecodeError as error:
        raise Corrupt(f"{TEXT_FILE} isn't UTF-8") from error


def load_array(path: Path, dtype: np.dtype[Any], dimensions: int) -> NDArray[Any]:
    """Return the array in a .npy file, mapped; pickles are never read. Raises: Corrupt."""
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise Corrupt(f"{path.name} isn't an array file") from error
    if array.dtype != dtype or array.ndim != dimensions:
        raise Corrupt(f"{path.name} holds another kind of array than {dtype.name}")
    return np.asarray(array)


def _sorted_strings(
    values: Keys,
) -> tuple[StringKeys, NDArray[np.int64]]:
    strings = _strings(values, "keys")
    try:
        longest = max((len(text.encode()) for text in string_texts(strings)), default=0)
    except UnicodeEncodeError as error:
        raise InvalidRequest("a key isn't valid Unicode", field="keys") from error
    if longest > MAX_KEY_BYTES:
        raise InvalidRequest(f"a key is longer than {MAX_KEY_BYTES} bytes", field="keys")
    order = np.array(sorted(range(len(strings)), key=strings.__getitem__), np.int64)
    ascending = [strings[row] for row in order]
    _refuse_duplicates(np.array([one == other for one, other in pairwise(ascending)], bool))
    return StringKeys(ascending), order


def _refuse_duplicates(repeats: NDArray[np.bool_]) -> None:
    if repeats.any():
        raise InvalidRequest(f"{int(repeats.sum()):,} keys stand there more than once", field="keys")


def _strings(values: Keys, field: str) -> list[str]:
    listed: list[Any] = values.tolist() if isinstance(values, np.ndarray) else list(values)
    if not all(type(value) is str for value in listed):
        raise InvalidRequest("keys of this index are strings", field=field)
    return listed


def _integers(values: Keys, field: str) -> NDArray[np.int64]:
    try:
        array = np.asarray(values)
    except (ValueError, OverflowError) as error:
        raise InvalidRequest("keys of this index are integers", field=field) from error
    if not array.size:
        return np.empty(0, np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise InvalidRequest("keys of this index are integers of at most 64 bits", field=field)
    if array.dtype == np.uint64 and array.max() > np.iinfo(np.int64).max:
        raise InvalidRequest("a key doesn't fit int64", field=field)
    return array.astype(np.int64, copy=False)


def _checked(positions: NDArray[np.int64]) -> NDArray[np.int64]:
    if positions.size and positions.min() < 0:
        raise ValueError("a position of -1 is padding and has no key")
    return positions
