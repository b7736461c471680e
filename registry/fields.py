"""The kinds of value a definition's field holds: names, durations, dtypes, paths into a view; each with the
form that it has in the application file, so that a definition written back parses to itself."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainSerializer,
    StringConstraints,
    WithJsonSchema,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from registry.dtypes import DType
from registry.durations import format_duration, parse_duration_us


class Definition(BaseModel):
    """A frozen part of the file; a key that it doesn't know is a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True)


IDENTIFIER_PATTERN = r"[A-Za-z_][A-Za-z0-9_]{0,62}"
NAME_PATTERN = r"[A-Za-z_][A-Za-z0-9_-]{0,62}"
VIEW_PATTERN = rf"({NAME_PATTERN}/)?{IDENTIFIER_PATTERN}"
COLUMN_PATTERN = rf"^{VIEW_PATTERN}\.{IDENTIFIER_PATTERN}$"

Identifier = Annotated[str, StringConstraints(pattern=rf"^{IDENTIFIER_PATTERN}$")]
"""A name that is a column, a table, or a part of `view.feature`."""

Name = Annotated[str, StringConstraints(pattern=rf"^{NAME_PATTERN}$")]
"""A name that may also hold hyphens: applications, indexes, models, pipelines."""

ViewName = Annotated[str, StringConstraints(pattern=rf"^{VIEW_PATTERN}$")]
"""A view of this application, or of another one: `movies/movie_profile`."""

ColumnName = Annotated[str, StringConstraints(pattern=COLUMN_PATTERN)]
"""`view.feature`; also `request.hour` and `retrieve.score` where a model's inputs are named."""

Text = Annotated[str, StringConstraints(min_length=1, max_length=65_536)]
"""Any text that isn't empty: a path, a query, a name that belongs to somebody else."""

Count = Annotated[int, Field(strict=True, ge=1)]
"""A whole number from 1."""

DurationUs = Annotated[
    int,
    BeforeValidator(parse_duration_us),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^\d+(us|ms|s|m|h|d)$"}),
]
"""A duration in microseconds; in the file an integer and its unit."""


class _DTypeForm:
    """How pydantic reads and writes a DType: as its text."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls._read, serialization=core_schema.plain_serializer_function_ser_schema(str)
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        scalars = "bool|int32|int64|float16|float32|float64|string|timestamp"
        return {"type": "string", "pattern": rf"^({scalars})(\[\d*\])?$"}

    @staticmethod
    def _read(value: object) -> DType:
        if isinstance(value, DType):
            return value
        if not isinstance(value, str):
            raise ValueError("a dtype is text, such as float32, float32[19] or int64[]")
        return DType.parse(value)


TypeName = Annotated[DType, _DTypeForm]
"""A dtype; in the file its text."""
