"""An application with a feature of every type, with and without a default, filled from every kind of source
and in place; and a model that gives back what it is given."""

from __future__ import annotations

import csv
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from onnx import TensorProto, helper

LENGTH = 3
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SCALARS = ("bool", "int32", "int64", "float16", "float32", "float64", "string", "timestamp")
FORMS = ("", f"[{LENGTH}]", "[]")
DTYPES = tuple(scalar + form for scalar in SCALARS for form in FORMS if scalar != "string" or not form)
VIEWS = ("parquet", "sql", "csv", "written")
"""A view for each way in. CSV can't say lists; the others have a feature of every type."""

PLAIN, EXTREME, NULL, NANS, ABSENT = 1, 2, 3, 4, 99
"""The entities: ordinary values, extreme ones, nulls, NaN in every float; and one without a row."""

_MOMENT = 1_600_000_000_123_456
_PLAIN: dict[str, list[Any]] = {
    "bool": [True, False, True],
    "int32": [7, -8, 9],
    "int64": [70, -80, 90],
    "float16": [0.5, -1.5, 2.0],
    "float32": [0.25, -1.25, 3.0],
    "float64": [0.1, -1.1, 4.0],
    "string": ["café", "", ""],
    "timestamp": [_MOMENT, _MOMENT + 1, _MOMENT + 2],
}
_EXTREME: dict[str, list[Any]] = {
    "bool": [False, False, True],
    "int32": [-(2**31), 2**31 - 1, 0],
    "int64": [2**63 - 1, -(2**63), 2**53 + 1],
    "float16": [65504.0, -65504.0, 6e-8],
    "float32": [3.4e38, -1e-45, 16777216.0],
    "float64": [1.7976931348623157e308, 5e-324, -0.0],
    "string": ['a{b}:c%d\n"é,"', "", ""],
    "timestamp": [-2_208_988_800_000_001, 4_102_444_800_000_000, 253_402_300_799_999_999],
}
DEFAULTS: dict[str, list[Any]] = {
    "bool": [True, True, False],
    "int32": [-5, 6, 7],
    "int64": [2**40, 1, 2],
    "float16": [1.25, 2.5, 0.0],
    "float32": [9.5, 8.5, 7.5],
    "float64": [0.3, 0.2, 0.1],
    "string": ["unknown", "", ""],
    "timestamp": [-1, 0, 1],
}
_ARROW: dict[str, Any] = {
    "bool": pa.bool_(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float16": pa.float32(),
    "float32": pa.float32(),
    "float64": pa.float64(),
    "string": pa.string(),
    "timestamp": pa.timestamp("us", tz="UTC"),
}


def name_of(dtype: str) -> str:
    """Return the name of the feature of a type: int64[] is int64_any, int64[3] int64_3."""
    scalar, bracket, rest = dtype.partition("[")
    return scalar if not bracket else f"{scalar}_{rest.rstrip(']') or 'any'}"


def value(dtype: str, entity: int) -> Any:
    """Return an entity's feature of a type: Python's value, microseconds for a time; None for null."""
    table = {PLAIN: _PLAIN, EXTREME: _EXTREME}.get(entity)
    scalar = dtype.partition("[")[0]
    if table is not None:
        return shaped(dtype, table[scalar])
    is_nan = entity == NANS and scalar.startswith("float")
    return shaped(dtype, [float("nan")] * LENGTH) if is_nan else None


def shaped(dtype: str, elements: list[Any]) -> Any:
    """Return elements as a value of the type: the first, three, or two of them."""
    _, bracket, rest = dtype.partition("[")
    if not bracket:
        return elements[0]
    return elements if rest != "]" else elements[: LENGTH - 1]


def moment(microseconds: int) -> datetime:
    """Return a time of the tables."""
    return EPOCH + timedelta(microseconds=microseconds)


def write_typed_application(directory: Path) -> Path:
    """Write data, the model and the application file; return the file."""
    directory.mkdir(parents=True)
    _write_parquet(directory / "things.parquet")
    _write_csv(directory / "things.csv")
    _write_model(directory / "models/echo/1/model.onnx")
    file = directory / "typed.yaml"
    file.write_text(yaml.safe_dump(_application(), sort_keys=False))
    return file


def _application() -> dict[str, Any]:
    whole = _features(DTYPES)
    names = ", ".join(["id", *map(name_of, DTYPES)])
    again = ", ".join(f"{name_of(dtype)} as d_{name_of(dtype)}" for dtype in DTYPES)
    views: dict[str, Any] = {
        "parquet": {"batch": {"source": "things"}, "features": whole},
        "sql": {"batch": {"sql": f"select *, {again} from (select {names} from things)"}, "features": whole},
        "csv": {"batch": {"source": "flat"}, "features": _features(SCALARS)},
        "written": {"features": whole},
    }
    inputs = {
        "f32": {"dtype": "float32", "columns": [f"written.{name_of(dtype)}" for dtype in MODEL_COLUMNS]},
        "f64": {"dtype": "float64", "columns": [f"written.{name_of(dtype)}" for dtype in MODEL_COLUMNS]},
        "i64": {"dtype": "int64", "columns": [f"written.{name_of(dtype)}" for dtype in WHOLE_COLUMNS]},
    }
    outputs = {
        f"{part}_{place}": f"{part}_out[{place}]"
        for part, columns in (("f32", MODEL_COLUMNS), ("f64", MODEL_COLUMNS), ("i64", WHOLE_COLUMNS))
        for place in range(width(columns))
    }
    return {
        "app": "typed",
        "entities": {
            "thing": {"key": {"id": "int64"}},
            "mixed": {"key": {"small": "int32", "large": "int64", "text": "string"}},
        },
        "sources": {"things": {"parquet": "things.parquet"}, "flat": {"csv": "things.csv"}},
        "views": {name: {"entity": "thing", **view} for name, view in views.items()}
        | {"of_mixed": {"entity": "mixed", "features": {"number": "int64"}}},
        "models": {"echo": {"repository": "models", "inputs": inputs, "outputs": outputs}},
        "pipelines": {"echo": {"entities": ["thing"], "hydrate": ["written"], "predict": "echo"}},
    }


MODEL_COLUMNS = tuple(
    dtype for dtype in DTYPES if not dtype.endswith("[]") and not dtype.startswith("string")
)
WHOLE_COLUMNS = tuple(dtype for dtype in MODEL_COLUMNS if not dtype.startswith("float"))


def width(dtypes: tuple[str, ...]) -> int:
    """Return how many columns the types fill in a model's input."""
    return sum(LENGTH if "[" in dtype else 1 for dtype in dtypes)


def _features(dtypes: tuple[str, ...]) -> dict[str, Any]:
    plain = {name_of(dtype): dtype for dtype in dtypes}
    defaulted = {
        f"d_{name_of(dtype)}": {
            "dtype": dtype,
            "default": shaped(dtype, DEFAULTS[dtype.partition("[")[0]]),
        }
        for dtype in dtypes
    }
    return plain | defaulted


def _write_parquet(path: Path) -> None:
    entities = (PLAIN, EXTREME, NULL, NANS)
    columns: dict[str, Any] = {"id": pa.array(entities, pa.int64())}
    for dtype in DTYPES:
        scalar, bracket, _ = dtype.partition("[")
        kind = pa.list_(_ARROW[scalar]) if bracket else _ARROW[scalar]
        values = pa.array([value(dtype, entity) for entity in entities], kind)
        columns[name_of(dtype)] = columns[f"d_{name_of(dtype)}"] = values
    pq.write_table(pa.table(columns), path)


def _write_csv(path: Path) -> None:
    with path.open("w", newline="") as lines:
        writer = csv.writer(lines)
        writer.writerow(["id", *SCALARS, *(f"d_{scalar}" for scalar in SCALARS)])
        for entity in (PLAIN, EXTREME, NULL, NANS):
            cells = [_cell(scalar, value(scalar, entity)) for scalar in SCALARS]
            writer.writerow([entity, *cells, *cells])


def _cell(scalar: str, given: Any) -> Any:
    if given is None:
        return ""
    return moment(given).isoformat() if scalar == "timestamp" else given


def _write_model(path: Path) -> None:
    parts = (
        ("f32", TensorProto.FLOAT, MODEL_COLUMNS),
        ("f64", TensorProto.DOUBLE, MODEL_COLUMNS),
        ("i64", TensorProto.INT64, WHOLE_COLUMNS),
    )
    graph = helper.make_graph(
        [helper.make_node("Cast", [name], [f"{name}_out"], to=TensorProto.FLOAT) for name, _, _ in parts],
        "echo",
        [helper.make_tensor_value_info(name, kind, [None, width(columns)]) for name, kind, columns in parts],
        [
            helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, [None, width(columns)])
            for name, _, columns in parts
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path.parent.mkdir(parents=True)
    onnx.save(model, str(path))
