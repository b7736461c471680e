import numpy as np
import pytest
from forebay.errors import InvalidRequest
from forebay.v1 import values_pb2 as pb

from gateway.inputs import InputField, InputSchema
from registry.dtypes import DType


def schema() -> InputSchema:
    fields = [
        InputField("user_id", DType.parse("int64"), is_key=True),
        InputField("country", DType.parse("string"), is_key=True),
        InputField("small", DType.parse("int32"), is_key=True),
        InputField("hour", DType.parse("float32"), is_key=False, default=12.0),
        InputField("amount", DType.parse("float32"), is_key=False),
        InputField("flag", DType.parse("bool"), is_key=False, default=False),
        InputField("vector", DType.parse("float32[2]"), False, np.zeros(2, np.float32)),
    ]
    return InputSchema(
        pipeline="p",
        fields={field.name: field for field in fields},
        entity_keys={"user": ("user_id",), "place": ("country", "small")},
    )


def inputs(**given: pb.Value) -> dict[str, pb.Value]:
    usual = {
        "user_id": pb.Value(int64_value=42),
        "country": pb.Value(string_value="de"),
        "small": pb.Value(int64_value=-1),
        "amount": pb.Value(double_value=1.5),
    }
    return {**usual, **given}


def floats(*elements: float) -> pb.Value:
    data = np.array(elements, np.float64).tobytes()
    return pb.Value(tensor=pb.Tensor(dtype=pb.DTYPE_FLOAT64, shape=[len(elements)], data=data))


def test_keys_are_canonical_and_defaults_filled_in() -> None:
    parsed = schema().parse(inputs())
    assert parsed.keys == {"user": "42", "place": "de:-1"}
    assert (parsed.values["hour"], parsed.values["amount"], parsed.values["flag"]) == (12.0, 1.5, False)


def test_an_integer_key_is_the_same_when_it_comes_as_text() -> None:
    assert schema().parse(inputs(user_id=pb.Value(string_value="42"))).keys["user"] == "42"
    assert schema().parse(inputs(user_id=pb.Value(string_value="042"))).keys["user"] == "42"


def test_an_integer_is_accepted_when_a_float_is_declared() -> None:
    assert schema().parse(inputs(amount=pb.Value(int64_value=3))).values["amount"] == 3.0


def test_special_characters_are_escaped_when_a_key_is_text() -> None:
    assert (
        schema().parse(inputs(country=pb.Value(string_value="a:{b}%"))).keys["place"] == "a%3A%7Bb%7D%25:-1"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("user_id", pb.Value(double_value=42.0)),
        ("user_id", pb.Value(string_value="x42")),
        ("user_id", pb.Value(string_value="4_2")),
        ("user_id", pb.Value(string_value="9223372036854775808")),
        ("user_id", pb.Value(bool_value=True)),
        ("user_id", pb.Value()),
        ("small", pb.Value(int64_value=2**31)),
        ("country", pb.Value(int64_value=1)),
        ("country", pb.Value(string_value="")),
        ("country", pb.Value(string_value="x" * 600)),
        ("amount", pb.Value(string_value="1.5")),
        ("amount", pb.Value(double_value=float("nan"))),
        ("amount", pb.Value()),
        ("amount", pb.Value(double_value=float("inf"))),
        ("amount", pb.Value(double_value=-1e39)),
        ("hour", pb.Value(double_value=float("-inf"))),
        ("flag", pb.Value(int64_value=1)),
        ("vector", pb.Value(double_value=1.0)),
        ("vector", pb.Value(tensor=pb.Tensor(dtype=pb.DTYPE_FLOAT32, shape=[3], data=bytes(12)))),
        ("vector", pb.Value(tensor=pb.Tensor(dtype=pb.DTYPE_FLOAT32, shape=[2], data=bytes(7)))),
        ("vector", floats(1.0, float("inf"))),
        ("vector", floats(1.0, float("nan"))),
        ("vector", floats(1.0, 1e39)),
        ("vector", pb.Value(tensor=pb.Tensor(dtype=pb.DTYPE_STRING, shape=[2], strings=["a", "b"]))),
        ("nobody", pb.Value(int64_value=1)),
    ],
)
def test_an_error_names_the_input_when_its_value_is_wrong(name: str, value: pb.Value) -> None:
    with pytest.raises(InvalidRequest) as caught:
        schema().parse(inputs(**{name: value}))
    assert caught.value.field == f"inputs.{name}"
    assert name in caught.value.message


def test_an_error_names_the_input_when_a_required_one_is_missing() -> None:
    given = inputs()
    del given["amount"]
    with pytest.raises(InvalidRequest, match=r"inputs\.amount"):
        schema().parse(given)


def test_a_default_stands_in_when_an_optional_value_is_nan_or_null() -> None:
    assert schema().parse(inputs(hour=pb.Value(double_value=float("nan")))).values["hour"] == 12.0
    assert schema().parse(inputs(hour=pb.Value())).values["hour"] == 12.0


def test_a_list_is_taken_when_its_shape_is_right() -> None:
    parsed = schema().parse(inputs(vector=floats(1.0, 2.0))).values["vector"]
    assert isinstance(parsed, np.ndarray)
    assert parsed.dtype == np.float32
    assert parsed.tolist() == [1.0, 2.0]


def whole(*elements: int) -> pb.Value:
    data = np.array(elements, np.int64).tobytes()
    return pb.Value(tensor=pb.Tensor(dtype=pb.DTYPE_INT64, shape=[len(elements)], data=data))


def parsed(dtype: str, value: pb.Value) -> object:
    field = InputField("x", DType.parse(dtype), is_key=False)
    found = InputSchema("p", {"x": field}, {}).parse({"x": value}).values["x"]
    return found.tolist() if isinstance(found, np.ndarray) else found


def test_whole_numbers_are_taken_for_every_list_that_can_hold_them() -> None:
    assert parsed("int32[2]", whole(1, -2)) == [1, -2]
    assert parsed("timestamp[2]", whole(1, 2)) == [1, 2]
    assert parsed("float16[2]", whole(1, 2)) == [1.0, 2.0]


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        ("int32[2]", whole(1, 2**31)),
        ("timestamp[2]", whole(1, 2**62)),
        ("float16[2]", whole(1, 65_520)),
        ("bool[2]", whole(1, 0)),
        ("timestamp", pb.Value(timestamp_us=2**62)),
        ("timestamp", pb.Value(int64_value=-(2**63))),
    ],
)
def test_what_a_type_cannot_hold_is_refused_by_name(dtype: str, value: pb.Value) -> None:
    with pytest.raises(InvalidRequest, match=r"inputs\.x") as refused:
        parsed(dtype, value)
    assert refused.value.field == "inputs.x"
