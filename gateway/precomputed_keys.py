"""Under which key a precomputed answer lies: `p{<texts>}<app>/<pipeline>:<version>`, the texts being those of
the inputs that tell answers apart, in the version's order. The braces are Redis Cluster's hash tag."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from gateway.inputs import InputValue
from registry.dtypes import DType, Scalar
from registry.key_text import SEPARATOR, string_texts
from registry.precomputed import PrecomputedPart

MAX_TEXT_LENGTH = 1024
"""Characters of all texts of one key: a key is a good part of what a small answer costs."""


def input_text(value: InputValue, dtype: DType, bin_width: float | None) -> str:
    """Return the canonical text of an input: equal texts where both are one value of `dtype`, or of one bin.

    Bin n holds the values from n times its width to below the next. A text holds no brace and no colon.
    """
    if dtype.is_list or isinstance(value, np.ndarray):
        elements = np.ascontiguousarray(value, dtype.scalar.numpy)
        return blake2b(elements.tobytes(), digest_size=16).hexdigest()
    if bin_width is not None:
        number = _rounded(float(value), dtype) / bin_width
        return str(math.floor(number)) if math.isfinite(number) else repr(number)
    if isinstance(value, str):
        return string_texts((value,))[0]
    if dtype.scalar.is_float:
        return repr(_rounded(float(value), dtype))
    return str(int(value))


def _rounded(value: float, dtype: DType) -> float:
    """Return the number as the model sees it: 0.1 as a float32 is one value, however a client wrote it."""
    if dtype.scalar.is_float and dtype.scalar is not Scalar.FLOAT64:
        value = float(np.asarray(value, dtype.scalar.numpy))
    return value + 0.0  # -0.0 is 0.0


@dataclass(frozen=True, slots=True)
class KeyPart:
    """One input of the key, and its type."""

    part: PrecomputedPart
    dtype: DType

    def text(self, values: Mapping[str, InputValue]) -> str:
        """Return the text of a request's value."""
        return input_text(values[self.part.input], self.dtype, self.part.bin)


class AnswerKeys:
    """Makes the keys of one version of a pipeline's precomputed answers."""

    def __init__(self, app: str, pipeline: str, version: int, parts: Sequence[KeyPart]) -> None:
        self._varied = tuple(part for part in parts if part.part.fixed is None)
        self._fixed = tuple(part for part in parts if part.part.fixed is not None)
        self._after = f"}}{app}/{pipeline}:{version}"

    def texts(self, values: Mapping[str, InputValue]) -> str:
        """Return the texts that stand between the braces for these inputs."""
        return SEPARATOR.join([part.text(values) for part in self._varied])

    def of(self, texts: Sequence[str]) -> list[bytes]:
        """Return the key for each of what `texts` returned."""
        return [f"p{{{text}{self._after}".encode() for text in texts]

    def find(self, values: Mapping[str, InputValue], *, exact: bool) -> bytes | None:
        """Return the key of the answer to these inputs; None where there can't be one.

        `exact`: also the inputs whose value all answers share must have that value.
        """
        if exact and any(part.text(values) != part.part.fixed for part in self._fixed):
            return None
        text = self.texts(values)
        return None if len(text) > MAX_TEXT_LENGTH else self.of((text,))[0]
