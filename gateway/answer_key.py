"""What makes two requests the same: 128 bits of everything that decides an answer, in one form whatever form
the caller sent it in. Pure; `compile_recall.py` makes one per pipeline, `recall/` looks answers up by it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from struct import Struct

import numpy as np

from gateway.inputs import InputField, InputValue
from registry.dtypes import Scalar

KEY_BYTES = 16

_FORMATS = {
    Scalar.BOOL: "?",
    Scalar.INT32: "i",
    Scalar.INT64: "q",
    Scalar.FLOAT16: "e",
    Scalar.FLOAT32: "f",
    Scalar.FLOAT64: "d",
    Scalar.TIMESTAMP: "q",
}
_LENGTH = Struct("<I")
_BETWEEN = "{"
"""Stands between key texts and between names: neither holds a brace."""


@dataclass(frozen=True, slots=True)
class KeyInput:
    """One input that takes part in the key: as it is, or by the bin of width `bin` that it falls into."""

    field: InputField
    bin: float | None = None


class AnswerKey:
    """Makes the keys of one pipeline's answers.

    Values are taken as the model sees them, rounded to the declared type: 12 and 12.0 are one, 0.0 and -0.0
    too. A number falls into bin floor(value / width). `maker` is the pipeline and the model arm, and belongs
    to every key; so do the declared inputs and their types, so that a changed declaration shares no key with
    an older one.
    """

    __slots__ = ("_packed", "_prefix", "_readers", "_tails")

    def __init__(self, maker: str, inputs: Sequence[KeyInput]) -> None:
        layout = [(part.field.name, str(part.field.dtype), part.bin) for part in inputs]
        # A digest, so that all that follows has its place.
        self._prefix = blake2b(repr((maker, layout)).encode(), digest_size=KEY_BYTES).digest()
        packed = [part for part in inputs if _is_packed(part)]
        self._readers = [(part.field.name, _reader(part)) for part in packed]
        self._packed = Struct("<i" + "".join([_format(part) for part in packed]))
        self._tails = [(part.field.name, _tail(part.field)) for part in inputs if not _is_packed(part)]

    def of(
        self,
        values: Mapping[str, InputValue],
        top: int,
        return_features: Sequence[str],
        candidates: Sequence[str] | None,
    ) -> bytes:
        """Return the key of a request: of its typed inputs, how many rows and which features it asks for, and
        the key texts of the candidates that it names itself.

        Cost: about 2 us, and a pass over lists, texts and candidates.
        """
        numbers = [values[name] if read is None else read(values[name]) for name, read in self._readers]
        parts = [self._prefix, self._packed.pack(top, *numbers)]
        for name, tail in self._tails:
            raw = tail(values[name])
            parts += (_LENGTH.pack(len(raw)), raw)
        if return_features or candidates is not None:
            names = _BETWEEN.join(return_features).encode()
            parts += (_LENGTH.pack(len(names)), names)
        if candidates is not None:
            parts.append(_BETWEEN.join(candidates).encode())
        return blake2b(b"".join(parts), digest_size=KEY_BYTES).digest()


def _is_packed(part: KeyInput) -> bool:
    return not part.field.dtype.is_list and part.field.dtype.scalar is not Scalar.STRING


def _format(part: KeyInput) -> str:
    return "d" if part.bin is not None else _FORMATS[part.field.dtype.scalar]


def _reader(part: KeyInput) -> Callable[[InputValue], float] | None:
    """Return what turns an input into the number that is packed; None where it is that number."""
    scalar, width = part.field.dtype.scalar, part.bin
    if width is None:
        return _positive_zero if scalar.is_float else None
    rounded = scalar.numpy.type
    return lambda value: _bin(float(rounded(value)) if scalar.is_float else value, width)


def _positive_zero(value: InputValue) -> float:
    return value + 0.0  # type: ignore[operator]


def _bin(value: InputValue, width: float) -> float:
    quotient: float = value / width  # type: ignore[operator]
    return quotient if math.isinf(quotient) else math.floor(quotient)


def _tail(field: InputField) -> Callable[[InputValue], bytes]:
    if field.dtype.is_list:
        dtype = field.dtype.scalar.numpy
        return lambda value: (np.asarray(value, dtype) + dtype.type(0)).tobytes()
    return lambda value: str(value).encode()
