"""Every type on every way: from Parquet, SQL, CSV and a write, into a row, and out to the SDK, Arrow, pandas
and a model."""

import re
from collections.abc import Iterator
from typing import Any

import forebay
import grpc
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from forebay import Outcome, Status, _pack, _requests
from forebay._dtypes import DType
from forebay.v1 import features_pb2, features_pb2_grpc

from runtime.embedded_store import TemporaryStore
from tests.support.served_application import ServedApplication, prepare, served
from tests.support.typed_application import (
    ABSENT,
    DEFAULTS,
    DTYPES,
    EXTREME,
    MODEL_COLUMNS,
    NANS,
    NULL,
    PLAIN,
    VIEWS,
    WHOLE_COLUMNS,
    moment,
    name_of,
    shaped,
    value,
    write_typed_application,
)

ENTITIES = (PLAIN, EXTREME, NULL, NANS, ABSENT)
STORED = ENTITIES[:-1]
WAYS = [(view, dtype) for view in VIEWS for dtype in DTYPES if view != "csv" or "[" not in dtype]
NUMPY = {"string": object, "timestamp": "datetime64[us]"}


@pytest.fixture(scope="module")
def typed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedApplication]:
    directory = tmp_path_factory.mktemp("typed")
    file = write_typed_application(directory / "app")
    with TemporaryStore() as store:
        prepare(directory, store.url, file, ())
        with served(directory, store.url, "typed") as gateway:
            yield gateway


@pytest.fixture(scope="module")
def client(typed: ServedApplication) -> Iterator[forebay.Client]:
    with forebay.Client(typed.gateway, timeout_s=5.0) as client:
        columns = {name_of(dtype): [value(dtype, entity) for entity in STORED] for dtype in DTYPES}
        defaulted = {f"d_{name}": values for name, values in columns.items()}
        outcomes = client.write("written", columns={"id": STORED, **columns, **defaulted})
        assert outcomes == [Outcome.APPLIED] * len(STORED)
        yield client


def expected(dtype: str, entity: int, *, has_default: bool) -> tuple[Any, Status]:
    """Return what is read: Python's value (None: none), and its status."""
    stored = None if entity == ABSENT else value(dtype, entity)
    is_null = stored is None or (not dtype.endswith("[]") and np.all(stored != np.asarray(stored)))
    if not is_null:
        return stored, Status.PRESENT
    if has_default:
        return shaped(dtype, DEFAULTS[dtype.partition("[")[0]]), Status.DEFAULTED
    return None, Status.NOT_FOUND if entity == ABSENT else Status.NULL


def as_numpy(dtype: str, given: Any) -> Any:
    """Return a value of the tables as numpy has it, rounded as its type rounds."""
    scalar = dtype.partition("[")[0]
    return np.array(given, NUMPY.get(scalar, scalar))


@pytest.mark.parametrize(("view", "dtype"), WAYS)
def test_what_was_given_is_read_whatever_its_type_and_its_way(
    client: forebay.Client, view: str, dtype: str
) -> None:
    for has_default in (False, True):
        name = f"{view}.{'d_' if has_default else ''}{name_of(dtype)}"
        table = client.features([name], id=list(ENTITIES))
        for row, entity in enumerate(ENTITIES):
            wanted, status = expected(dtype, entity, has_default=has_default)
            assert table.statuses(name)[row] == status, (name, entity)
            if wanted is not None:
                found = table.values(name)[row]
                np.testing.assert_array_equal(np.asarray(found), as_numpy(dtype, wanted), f"{name} {entity}")
                assert type(found) is str or found.dtype == as_numpy(dtype, wanted).dtype


@pytest.mark.parametrize("view", VIEWS)
def test_tables_are_the_same_in_arrow_and_pandas(client: forebay.Client, view: str) -> None:
    dtypes = [dtype for dtype in DTYPES if view != "csv" or "[" not in dtype]
    table = client.features([f"{view}.{name_of(dtype)}" for dtype in dtypes], id=list(ENTITIES))
    arrow, frame = table.to_arrow(), table.to_pandas()
    for dtype in dtypes:
        name = f"{view}.{name_of(dtype)}"
        nulls = [expected(dtype, entity, has_default=False)[0] is None for entity in ENTITIES]
        assert arrow[name].is_null().to_pylist() == nulls, name
        assert frame[name].isna().tolist() == nulls, name
        plain = arrow[name][0].as_py()
        wanted = value(dtype, PLAIN)
        if dtype.startswith("timestamp"):
            wanted = [moment(us) for us in wanted] if "[" in dtype else moment(wanted)
        assert plain == wanted
        if dtype.startswith("timestamp") and "[" in dtype:
            plain = [time.replace(tzinfo=None) for time in plain]
        assert np.all(np.asarray(frame[name][0]) == np.asarray(plain)), name


def test_a_write_is_read_back_from_what_pandas_and_arrow_call_missing(client: forebay.Client) -> None:
    columns = {
        "int64": pd.array([1, None], dtype="Int64"),
        "bool": pd.Series([True, None], dtype="boolean"),
        "float64": pd.Series([0.5, None]),
        "string": pd.Series(["x", None], dtype="string"),
        "timestamp": pd.Series(pd.to_datetime(["2020-01-01", None], utc=True)),
        "int32": pa.array([3, None], pa.int32()),
        "float32": pa.chunked_array([[0.25, None]], pa.float32()),
        "int64_any": pa.array([[1, 2], None]),
    }
    assert client.write("written", columns={"id": [201, 202], **columns}) == [Outcome.APPLIED] * 2
    names = [f"written.{name}" for name in columns]
    table = client.features(names, id=[201, 202])
    for name in names:
        assert table.statuses(name).tolist() == [Status.PRESENT, Status.NULL], name


@pytest.mark.parametrize(
    ("part", "dtypes"), [("f32", MODEL_COLUMNS), ("f64", MODEL_COLUMNS), ("i64", WHOLE_COLUMNS)]
)
def test_a_model_is_given_what_is_stored(client: forebay.Client, part: str, dtypes: tuple[str, ...]) -> None:
    answer = client.predict("echo", id=PLAIN)
    wanted = [np.float32(element) for dtype in dtypes for element in np.ravel(value(dtype, PLAIN))]
    assert [answer[0].scores[f"{part}_{place}"] for place in range(len(wanted))] == wanted


def test_a_number_that_the_input_of_a_model_cannot_hold_is_named(client: forebay.Client) -> None:
    with pytest.raises(
        forebay.NotUsable, match=r"written\.float64 holds a number out of the range of float32"
    ):
        client.predict("echo", id=EXTREME)


def test_nothing_stands_in_for_a_null_that_an_integer_input_cannot_say(client: forebay.Client) -> None:
    with pytest.raises(
        forebay.NotUsable, match=r"written\.bool is missing, has no default, and model input i64"
    ):
        client.predict("echo", id=NULL)


KEYS = [
    (1, 2**40, "a"),
    (1, 2**40, "a{b}:c%d"),
    (-1, -(2**63), "1:2"),
    (1, 2**40, " a"),
    (1, 2**40, "É"),
    (2**31 - 1, 0, "é"),
]


def test_composite_keys_stay_apart_whatever_is_in_them(client: forebay.Client) -> None:
    small, large, text = (list(part) for part in zip(*KEYS, strict=True))
    keys = {"small": small, "large": large, "text": text}
    client.write("of_mixed", columns={**keys, "number": list(range(len(KEYS)))})
    assert client.features(["of_mixed.number"], keys=keys).values("of_mixed.number").tolist() == list(
        range(len(KEYS))
    )
    as_text = {"small": list(map(str, small)), "large": list(map(str, large)), "text": text}
    read = client.features(["of_mixed.number"], keys=as_text)
    assert read.values("of_mixed.number").tolist() == list(range(len(KEYS)))


@pytest.mark.parametrize(
    ("key", "rule"),
    [
        ({"small": 2**31}, r"keys\.small must be within the range of int32"),
        ({"small": 1.5}, r"keys\.small must be an integer"),
        ({"small": True}, r"keys\.small must be an integer"),
        ({"large": "042"}, r"keys\.large must be an integer"),
        ({"large": 2**63}, r"keys\.large: expected int64, got a larger number"),
        ({"text": 42}, r"keys\.text must be text"),
        ({"text": ""}, r"keys\.text must not be empty"),
        ({"text": "é" * 257}, r"keys\.text must have at most 512 bytes"),
    ],
)
def test_a_wrong_key_names_its_field_and_the_limit(
    client: forebay.Client, key: dict[str, Any], rule: str
) -> None:
    keys = {"small": [1], "large": [1], "text": ["a"]} | {name: [part] for name, part in key.items()}
    with pytest.raises(forebay.InvalidRequest, match=rule):
        client.features(["of_mixed.number"], keys=keys)


@pytest.mark.parametrize(
    ("dtype", "bad", "rule"),
    [
        ("int32", np.array([1, 2**31]), "within -2147483648 to 2147483647"),
        ("int32[3]", np.array([[1, 2, 3], [1, 2, -(2**40)]]), "a list of 3, each within -2147483648"),
        ("float16", np.array([1.0, 65_520.0], np.float32), "within ±65504, or infinite"),
        ("float32", np.array([1.0, 1e39]), "within ±3.40282e.38, or infinite"),
        ("timestamp", np.array([1, 1_600_000_000_123_456_789]), "a time in the years 1 to 9999"),
        ("string", ["", "é" * 32_769], "text of at most 65536 bytes in UTF-8"),
    ],
)
def test_a_row_that_cannot_be_stored_is_invalid_and_its_feature_named(
    typed: ServedApplication, client: forebay.Client, dtype: str, bad: Any, rule: str
) -> None:
    scalar = "int64" if isinstance(bad, np.ndarray) and bad.dtype.kind == "i" else ""
    column = _pack.column(
        name_of(dtype), bad, DType.parse(scalar + "[3]" * ("[" in dtype)) if scalar else None, "x"
    )
    request = features_pb2.WriteFeaturesRequest(
        view="written", keys=[_pack.column("id", [301, 302], None, "id")], features=[column]
    )
    with grpc.insecure_channel(typed.gateway) as channel:
        response = features_pb2_grpc.FeatureServiceStub(channel).WriteFeatures(request, timeout=5)
    outcomes = _requests.outcomes(response)
    assert outcomes == [Outcome.APPLIED, Outcome.INVALID]
    [problem] = outcomes.problems
    assert (problem.field, problem.row_count) == (f"features.{name_of(dtype)}", 1)
    assert re.match(rule, problem.rule)
    statuses = client.features([f"written.{name_of(dtype)}"], id=[302]).statuses(f"written.{name_of(dtype)}")
    assert statuses.tolist() == [Status.NOT_FOUND]


def test_a_list_that_is_too_long_is_invalid(client: forebay.Client) -> None:
    for length, outcome in ((65_536, Outcome.APPLIED), (65_537, Outcome.INVALID)):
        lists = [np.zeros(length, np.int64)]
        outcomes = client.write("written", columns={"id": [401], "int64_any": lists})
        assert outcomes == [outcome]
    assert outcomes.problems[0].rule.startswith("a list of at most 65536, each within")
