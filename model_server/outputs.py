"""Which output of a model, or which column of it, is a score."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from forebay.errors import NotUsable
from numpy.typing import NDArray

_COLUMN = re.compile(r"(.+)\[(\d{1,6})\]", re.DOTALL)


@dataclass(frozen=True, slots=True)
class OutputColumn:
    """The score `score` is the model's `output`, or its column `column`."""

    score: str
    output: str
    column: int | None = None

    @classmethod
    def parse(cls, score: str, text: str) -> OutputColumn:
        """Return what `text` names: `name`, or `name[i]` for column i."""
        match = _COLUMN.fullmatch(text)
        return cls(score, text) if match is None else cls(score, match[1], int(match[2]))

    def mismatch(self, shape: tuple[int | None, ...]) -> str:
        """Return why an output of this shape (None: unknown) has no such score; empty where it has one."""
        if len(shape) == 1 and self.column is None:
            return ""
        if len(shape) != 2:
            return (
                f"output {self.output} has {len(shape)} dimensions; a score is (rows,), (rows, 1) or a column"
            )
        width = shape[1]
        if width is not None and (self.column or 0) >= width:
            return f"output {self.output} has {width} columns, so there is no column {self.column}"
        if self.column is None and width not in (None, 1):
            return f"output {self.output} has {width} columns: name one, as {self.output}[{width - 1}]"
        return ""

    def column_of(self, value: NDArray[Any]) -> NDArray[np.float32]:
        """Return the score of each row, (rows,) float32, from the output's value.

        Raises: NotUsable where the value has no such column.
        """
        reason = self.mismatch(value.shape)
        if reason:
            raise NotUsable(reason)
        column = value if value.ndim == 1 else value[:, self.column or 0]
        return np.ascontiguousarray(column, np.float32)
