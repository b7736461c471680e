"""Under which key a precomputed answer lies: `p{<texts>}<app>/<pipeline>:<version>`, the texts being those of
the inputs that tell answers apart, in the version's order. The braces are Redis Cluster's hash tag."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from struct import Struct

import numpy as np
from numpy.typing import NDArray

from gateway.inputs import InputValue
from registry.dtypes import DType, Scalar
from registry.key_text import SEPARATOR, string_texts
from registry.precomputed import PrecomputedPart

MAX_TEXT_LENGTH = 1024
"""Characters of all texts of one key: a key is a good part of what a small answer costs."""


Text = Callable[[InputValue], str]


def input_text(value: InputValue, dtype: DType, bin_width: float | None) -> str:
    """Return the canonical text of an input: equal texts where both are one value of `dtype`, or of one bin.

    Bin n holds the values from n times its width to below the next. A text holds no brace and no colon.
    """
    return text_of(dtype, bin_width)(value)


def text_of(dtype: DType, bin_width: float | None) -> Text:
    """Return `input_text` for one type and one width of bins; None where there are none."""
    if dtype.is_list:
        elements = dtype.scalar.numpy
        return lambda value: _digest(np.ascontiguousarray(value, elements))
    rounded = _ROUNDED.get(dtype.scalar, float)
    if bin_width is not None:
        return lambda value: _bin(rounded(value) / bin_width)
    if dtype.scalar is Scalar.STRING:
        return lambda value: string_texts((str(value),))[0]
    if dtype.scalar.is_float:
        return lambda value: repr(rounded(value) + 0.0)  # -0.0 is 0.0
    return lambda value: str(int(value))


def _digest(elements: NDArray[np.generic]) -> str:
    return blake2b(elements.tobytes(), digest_size=16).hexdigest()


def _bin(number: float) -> str:
    return str(math.floor(number)) if math.isfinite(number) else repr(number)


def _rounded(as_stored: Struct) -> Callable[[InputValue], float]:
    """Return what gives a number as the model sees it: 0.1 in 32 bits is one value, however a client wrote
    it."""
    pack, unpack = as_stored.pack, as_stored.unpack

    def rounded(value: InputValue) -> float:
        number: float = unpack(pack(value))[0]
        return number

    return rounded


_ROUNDED = {Scalar.FLOAT16: _rounded(Struct("<e")), Scalar.FLOAT32: _rounded(Struct("<f"))}


@dataclass(frozen=True, slots=True)
class KeyPart:
    """One input of the key, and its type."""

    part: PrecomputedPart
    dtype: DType


class AnswerKeys:
    """Makes the keys of one version of a pipeline's precomputed answers."""

    def __init__(self, app: str, pipeline: str, version: int, parts: Sequence[KeyPart]) -> None:
        bound = [(one.part, text_of(one.dtype, one.part.bin)) for one in parts]
        self._varied = [(part.input, text) for part, text in bound if part.fixed is None]
        self._fixed = [(part.input, text, part.fixed) for part, text in bound if part.fixed is not None]
        self._after = f"}}{app}/{pipeline}:{version}"

    def texts(self, values: Mapping[str, InputValue]) -> str:
        """Return the texts that stand between the braces for these inputs."""
        return SEPARATOR.join([text(values[name]) for name, text in self._varied])

    def of(self, texts: Sequence[str]) -> list[bytes]:
        """Return the key for each of what `texts` returned."""
        return [f"p{{{text}{self._after}".encode() for text in texts]

    def find(self, values: Mapping[str, InputValue], *, exact: bool) -> bytes | None:
        """Return the key of the answer to these inputs; None where there can't be one.

        `exact`: also the inputs whose value all answers share must have that value.
        """
        if exact:
            for name, text, fixed in self._fixed:
                if text(values[name]) != fixed:
                    return None
        texts = self.texts(values)
        return None if len(texts) > MAX_TEXT_LENGTH else self.of((texts,))[0]
