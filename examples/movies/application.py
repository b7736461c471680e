"""What training must know of movies.yaml: the ranker's column order, the defaults, how many candidates.

Serving reads the same lines, so the two cannot drift. Next on the path: prepare/training.py.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

PIPELINE = "movies_for_user"
LIKED = 4.0
"""A rating from here on says that the user liked the movie: the ranker's label, and what is relevant."""


@dataclass(frozen=True, slots=True)
class Column:
    """One entry of the ranker's input: `width` floats from `offset` on; a declared default replaces NaN."""

    name: str
    offset: int
    width: int
    default: float | None


@dataclass(frozen=True, slots=True)
class RankerInput:
    """The columns of the ranker's one input tensor, in the order of movies.yaml."""

    tensor: str
    columns: tuple[Column, ...]

    @property
    def width(self) -> int:
        return sum(column.width for column in self.columns)

    def column(self, name: str) -> Column:
        """The column of that name. Raises: ValueError if movies.yaml does not list it."""
        for column in self.columns:
            if column.name == name:
                return column
        raise ValueError(f"movies.yaml: models.ranker.inputs.{self.tensor} does not list {name}")

    def assemble(self, values: Mapping[str, NDArray[Any]], row_count: int) -> NDArray[np.float32]:
        """The model's input, as the gateway assembles it.

        Shapes: values[name] is (rows,) or (rows, width); answer (rows, width of all), NaN where missing.
        Raises: ValueError for a column that `values` lacks or that has another width.
        """
        x = np.empty((row_count, self.width), dtype=np.float32)
        for column in self.columns:
            if column.name not in values:
                raise ValueError(f"movies.yaml: nothing here makes the ranker's column {column.name}")
            block = np.asarray(values[column.name], dtype=np.float32).reshape(row_count, -1)
            if block.shape[1] != column.width:
                raise ValueError(f"{column.name} is {block.shape[1]} wide, movies.yaml says {column.width}")
            if column.default is not None:
                block = np.where(np.isnan(block), np.float32(column.default), block)
            x[:, column.offset : column.offset + column.width] = block
        return x


@dataclass(frozen=True, slots=True)
class MovieApplication:
    """The parts of movies.yaml that training and the offline ranking share with serving."""

    ranker: RankerInput
    candidate_count: int
    top: int
    default_hour: float


def read_application(path: Path) -> MovieApplication:
    """The application file's ranker input, candidate count, top and default hour.

    Raises: ValueError where the file lacks one of them; the server's own check says more.
    """
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    try:
        pipeline = document["pipelines"][PIPELINE]
        return MovieApplication(
            ranker=_ranker_input(document),
            candidate_count=int(pipeline["retrieve"]["k"]),
            top=int(pipeline["select"]["top"]),
            default_hour=float(pipeline["request"]["hour"]["default"]),
        )
    except KeyError as missing:
        raise ValueError(f"{path.name}: training needs {missing}") from missing


def _ranker_input(document: Mapping[str, Any]) -> RankerInput:
    inputs = document["models"]["ranker"]["inputs"]
    if len(inputs) != 1:
        raise ValueError("the movie ranker has one input tensor")
    ((tensor, declared),) = inputs.items()
    names = declared["columns"] if isinstance(declared, Mapping) else declared
    columns: list[Column] = []
    offset = 0
    for name in names:
        width, default = _declaration(document, name)
        columns.append(Column(name, offset, width, default))
        offset += width
    return RankerInput(tensor, tuple(columns))


def _declaration(document: Mapping[str, Any], name: str) -> tuple[int, float | None]:
    group, feature = name.split(".", 1)
    if group == "retrieve":
        return 1, None
    if group == "request":
        declared = document["pipelines"][PIPELINE]["request"][feature]
    else:
        declared = document["views"][group]["features"][feature]
    if isinstance(declared, str):
        declared = {"dtype": declared}
    length = re.fullmatch(r"\w+(?:\[(\d+)\])?", declared["dtype"])
    if length is None:
        raise ValueError(f"{name}: a variable list cannot be a ranker's column")
    default = declared.get("default")
    return int(length.group(1) or 1), None if default is None else float(default)
