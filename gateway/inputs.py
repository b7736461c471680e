"""A request's inputs against what its pipeline declares: key fields become canonical key texts, request
features become typed values. Pure; next on the path is `predict.py`."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from forebay.errors import InvalidRequest
from forebay.v1 import values_pb2 as pb
from numpy.typing import NDArray

from gateway.convert import values_of
from registry.dtypes import DType, Scalar, whole_range
from registry.key_text import MAX_KEY_BYTES, SEPARATOR, string_texts

Scalars = bool | int | float | str
InputValue = Scalars | NDArray[np.generic]

_INTEGER = re.compile(r"-?[0-9]{1,20}")
_LARGEST = {
    Scalar.FLOAT16: float(np.finfo(np.float16).max),
    Scalar.FLOAT32: float(np.finfo(np.float32).max),
    Scalar.FLOAT64: float(np.finfo(np.float64).max),
}


@dataclass(frozen=True, slots=True)
class InputField:
    """One declared input. `default` is None when a value is required; key fields always are."""

    name: str
    dtype: DType
    is_key: bool
    default: InputValue | None = None


@dataclass(slots=True)
class Inputs:
    """A request's typed inputs.

    `keys` holds each entity's canonical key text; `values` every field's value, defaults filled in.
    """

    keys: Mapping[str, str]
    values: Mapping[str, InputValue]


@dataclass(frozen=True, slots=True)
class InputSchema:
    """What one pipeline takes: its fields by name, and each entity's key fields in order."""

    pipeline: str
    fields: Mapping[str, InputField]
    entity_keys: Mapping[str, tuple[str, ...]]
    _names: frozenset[str] = field(init=False)
    _parsers: tuple[tuple[str, InputField, _Parser], ...] = field(init=False)

    def __post_init__(self) -> None:
        parsers = [(name, one, _PARSERS[one.dtype.scalar]) for name, one in self.fields.items()]
        object.__setattr__(self, "_names", frozenset(self.fields))
        object.__setattr__(self, "_parsers", tuple(parsers))

    def parse(self, inputs: Mapping[str, pb.Value]) -> Inputs:
        """Return typed inputs.

        Raises: InvalidRequest naming the input that is unknown, missing, or of another type.
        """
        if not self._names.issuperset(inputs):
            self._refuse_unknown(inputs)
        values: dict[str, InputValue] = {}
        for name, declared, parser in self._parsers:
            given, value = inputs.get(name), None
            kind = None if given is None else given.WhichOneof("kind")
            if given is not None and kind is not None:
                value = parser(given, kind, declared)
            values[name] = self._default(declared) if value is None else value
        return self.keyed(values)

    def keyed(self, values: Mapping[str, InputValue]) -> Inputs:
        """Return the inputs whose typed values, every field's, are these.

        Raises: InvalidRequest naming a key field whose text is empty or too long.
        """
        keys: dict[str, str] = {}
        for entity, names in self.entity_keys.items():
            texts = [key_text(name, values[name]) for name in names]
            keys[entity] = texts[0] if len(texts) == 1 else SEPARATOR.join(texts)
        return Inputs(keys, values)

    def _refuse_unknown(self, inputs: Mapping[str, pb.Value]) -> None:
        unknown = sorted(set(inputs) - self._names)
        raise InvalidRequest(
            f"inputs.{unknown[0]}: pipeline {self.pipeline} takes only {', '.join(self.fields)}",
            field=f"inputs.{unknown[0]}",
        )

    def _default(self, declared: InputField) -> InputValue:
        if declared.default is None:
            what = "key field" if declared.is_key else "request feature"
            name = f"inputs.{declared.name}"
            raise InvalidRequest(
                f"{name}: pipeline {self.pipeline} needs this {what} of type {declared.dtype}", field=name
            )
        return declared.default


def parse_value(value: pb.Value, declared: InputField) -> InputValue | None:
    """Return one value of the declared type; None when it is null or NaN.

    Raises: InvalidRequest naming the input.
    """
    kind = value.WhichOneof("kind")
    return None if kind is None else _PARSERS[declared.dtype.scalar](value, kind, declared)


def key_text(name: str, value: InputValue) -> str:
    """Return the canonical text of one key field. Raises: InvalidRequest for text of a wrong length."""
    if not isinstance(value, str):
        return str(value)
    if not 1 <= len(value.encode()) <= MAX_KEY_BYTES:
        raise InvalidRequest(
            f"inputs.{name}: a text key has 1 to {MAX_KEY_BYTES} bytes", field=f"inputs.{name}"
        )
    return string_texts((value,))[0]


def _wrong(declared: InputField, got: str) -> InvalidRequest:
    name = f"inputs.{declared.name}"
    return InvalidRequest(f"{name}: expected {declared.dtype}, got {got}", field=name)


def _integer(value: pb.Value, kind: str, declared: InputField) -> InputValue | None:
    if declared.dtype.is_list:
        return _list(value, kind, declared)
    if kind == "int64_value":
        number = value.int64_value
    elif kind == "string_value" and declared.is_key:
        # JSON transcoders send 64-bit integers as text.
        if _INTEGER.fullmatch(value.string_value) is None:
            raise _wrong(declared, "text that is no integer")
        number = int(value.string_value)
    else:
        raise _wrong(declared, kind.removesuffix("_value"))
    low, high = whole_range(declared.dtype.scalar)
    if not low <= number <= high:
        raise _wrong(declared, "an integer out of its range")
    return number


def _float(value: pb.Value, kind: str, declared: InputField) -> InputValue | None:
    if declared.dtype.is_list:
        return _list(value, kind, declared)
    if kind == "double_value":
        number = value.double_value
    elif kind == "int64_value":
        number = float(value.int64_value)
    else:
        raise _wrong(declared, kind.removesuffix("_value"))
    if math.isnan(number):
        return None
    if abs(number) > _LARGEST[declared.dtype.scalar]:
        raise _wrong(declared, "infinity" if math.isinf(number) else "a number out of its range")
    return number


def _bool(value: pb.Value, kind: str, declared: InputField) -> InputValue | None:
    if declared.dtype.is_list:
        return _list(value, kind, declared)
    if kind == "bool_value":
        return value.bool_value
    raise _wrong(declared, kind.removesuffix("_value"))


def _string(value: pb.Value, kind: str, declared: InputField) -> InputValue | None:
    if kind == "string_value" and not declared.dtype.is_list:
        return value.string_value
    raise _wrong(declared, kind.removesuffix("_value"))


def _timestamp(value: pb.Value, kind: str, declared: InputField) -> InputValue | None:
    if declared.dtype.is_list:
        return _list(value, kind, declared)
    if kind not in ("timestamp_us", "int64_value"):
        raise _wrong(declared, kind.removesuffix("_value"))
    time_us = value.timestamp_us if kind == "timestamp_us" else value.int64_value
    low, high = whole_range(Scalar.TIMESTAMP)
    if not low <= time_us <= high:
        raise _wrong(declared, "a time outside of the years 1 to 9999")
    return time_us


def _list(value: pb.Value, kind: str, declared: InputField) -> InputValue | None:
    if kind != "tensor":
        raise _wrong(declared, kind.removesuffix("_value"))
    name = f"inputs.{declared.name}"
    elements, scalar = values_of(value.tensor, name)
    wanted = declared.dtype
    if not isinstance(elements, np.ndarray) or elements.ndim != 1 or len(elements) != wanted.length:
        raise _wrong(declared, "a tensor of another shape")
    if scalar is not wanted.scalar and not _stands_for(scalar, wanted.scalar):
        raise _wrong(declared, f"{scalar.value} elements")
    if wanted.scalar.numpy.kind == "i":
        low, high = whole_range(wanted.scalar)
        if len(elements) and not low <= int(elements.min()) <= int(elements.max()) <= high:
            raise _wrong(declared, "elements out of its range")
    with np.errstate(over="ignore"):
        converted = elements.astype(wanted.scalar.numpy)
    if wanted.scalar.is_float and not np.isfinite(converted).all():
        raise InvalidRequest(f"{name}: holds NaN, infinity, or a number out of its range", field=name)
    return converted


def _stands_for(given: Scalar, wanted: Scalar) -> bool:
    """Return whether elements of one type are taken for another: integers for floats and for each other, and
    for times."""
    if wanted.is_float:
        return given.is_float or given.is_integer
    return given.is_integer and (wanted.is_integer or wanted is Scalar.TIMESTAMP)


_Parser = Callable[[pb.Value, str, InputField], InputValue | None]
_PARSERS: dict[Scalar, _Parser] = {
    Scalar.BOOL: _bool,
    Scalar.INT32: _integer,
    Scalar.INT64: _integer,
    Scalar.FLOAT16: _float,
    Scalar.FLOAT32: _float,
    Scalar.FLOAT64: _float,
    Scalar.STRING: _string,
    Scalar.TIMESTAMP: _timestamp,
}
