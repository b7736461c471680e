import numpy as np
import pytest
from forebay.errors import InvalidRequest
from forebay.v1 import values_pb2 as pb
from numpy.typing import NDArray

from feature_store.types import KeyField, Status
from gateway.convert import Values, columns_of, fill_column, fill_tensor, key_columns, values_of
from registry.columns import VariableLists
from registry.dtypes import DType, Scalar


def tensor(values: Values, scalar: Scalar) -> pb.Tensor:
    message = pb.Tensor()
    fill_tensor(message, values, scalar)
    return message


def column(name: str, values: Values, scalar: Scalar, statuses: NDArray[np.uint8] | None = None) -> pb.Column:
    message = pb.Column()
    fill_column(message, name, values, scalar, statuses)
    return message


@pytest.mark.parametrize(
    ("values", "scalar"),
    [
        (np.array([1.5, np.nan], np.float32), Scalar.FLOAT32),
        (np.arange(6, dtype=np.float64).reshape(3, 2), Scalar.FLOAT64),
        (np.array([1, -1], np.int64), Scalar.INT64),
        (np.array([2**31 - 1], np.int32), Scalar.INT32),
        (np.array([0.5], np.float16), Scalar.FLOAT16),
        (np.array([True, False]), Scalar.BOOL),
        (np.array([1_700_000_000_000_000], np.int64), Scalar.TIMESTAMP),
        (np.empty(0, np.float32), Scalar.FLOAT32),
    ],
)
def test_an_array_comes_back_equal(values: np.ndarray, scalar: Scalar) -> None:  # type: ignore[type-arg]
    back, back_scalar = values_of(tensor(values, scalar), "x")
    assert back_scalar is scalar
    assert isinstance(back, np.ndarray)
    assert back.dtype == values.dtype
    np.testing.assert_array_equal(back, values)


def test_strings_come_back_equal() -> None:
    assert values_of(tensor(["a", "", "ü"], Scalar.STRING), "x") == (["a", "", "ü"], Scalar.STRING)


def test_variable_lists_come_back_equal() -> None:
    lists = VariableLists(np.array([1, 2, 3], np.int64), np.array([0, 2, 2, 3], np.int64))
    message = tensor(lists, Scalar.INT64)
    assert list(message.shape) == [3, -1]
    back, _ = values_of(message, "x")
    assert isinstance(back, VariableLists)
    assert back.values.tolist() == [1, 2, 3]
    assert back.offsets.tolist() == [0, 2, 2, 3]


def test_statuses_are_left_out_when_all_are_present() -> None:
    values = np.zeros(2, np.float32)
    assert column("x", values, Scalar.FLOAT32, np.full(2, Status.PRESENT, np.uint8)).statuses == b""
    mixed = np.array([Status.PRESENT, Status.NOT_FOUND], np.uint8)
    assert column("x", values, Scalar.FLOAT32, mixed).statuses == b"\x01\x03"


@pytest.mark.parametrize(
    "message",
    [
        pb.Tensor(shape=[1], data=bytes(4)),
        pb.Tensor(dtype=pb.DTYPE_FLOAT32, shape=[2], data=bytes(4)),
        pb.Tensor(dtype=pb.DTYPE_FLOAT32, shape=[1], data=bytes(5)),
        pb.Tensor(dtype=pb.DTYPE_FLOAT32, shape=[-1], data=bytes(4)),
        pb.Tensor(dtype=pb.DTYPE_FLOAT32, shape=[-2, -2], data=bytes(16)),
        pb.Tensor(dtype=pb.DTYPE_FLOAT32, shape=[1], data=bytes(4), strings=["a"]),
        pb.Tensor(dtype=pb.DTYPE_FLOAT32, data=bytes(4)),
        pb.Tensor(dtype=pb.DTYPE_STRING, shape=[1], data=b"abcd"),
        pb.Tensor(dtype=pb.DTYPE_STRING, shape=[2], strings=["a"]),
        pb.Tensor(dtype=pb.DTYPE_INT64, shape=[2, -1], data=bytes(8), offsets=[0, 1]),
        pb.Tensor(dtype=pb.DTYPE_INT64, shape=[2, -1], data=bytes(8), offsets=[0, 2, 1]),
        pb.Tensor(dtype=pb.DTYPE_INT64, shape=[2, -1], data=bytes(8), offsets=[0, 0, 2]),
        pb.Tensor(dtype=pb.DTYPE_INT64, shape=[1], data=bytes(8), offsets=[0, 1]),
    ],
)
def test_a_malformed_tensor_is_refused(message: pb.Tensor) -> None:
    with pytest.raises(InvalidRequest) as caught:
        values_of(message, "keys.user_id")
    assert caught.value.field == "keys.user_id"


def test_columns_of_different_lengths_are_refused() -> None:
    columns = [
        column("a", np.zeros(2, np.int64), Scalar.INT64),
        column("b", np.zeros(3, np.int64), Scalar.INT64),
    ]
    with pytest.raises(InvalidRequest, match="differ in length"):
        columns_of(columns, "keys")


def test_a_column_given_twice_is_refused() -> None:
    one = column("a", np.zeros(2, np.int64), Scalar.INT64)
    with pytest.raises(InvalidRequest, match="twice"):
        columns_of([one, one], "keys")


@pytest.mark.parametrize(
    ("values", "scalar"), [(np.array([4, 5], np.int64), Scalar.INT64), (["a", "b"], Scalar.STRING)]
)
@pytest.mark.parametrize("statuses", [b"\x01\x02", b"\x00\x01", b"\x01"])
def test_a_key_column_is_refused_when_a_row_has_no_value(
    values: NDArray[np.int64] | list[str], scalar: Scalar, statuses: bytes
) -> None:
    key = [KeyField("item", DType(scalar))]
    message = column("item", values, scalar)
    message.statuses = b"\x01\x01"
    assert len(key_columns([message], key, "keys", 10)["item"]) == 2
    message.statuses = statuses
    with pytest.raises(InvalidRequest, match=r"^keys\.item: ") as caught:
        key_columns([message], key, "keys", 10)
    assert caught.value.field == "keys.item"
