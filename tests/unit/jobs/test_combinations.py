"""Combinations and bins as a person writes them: typed values, or what is wrong with them."""

import pytest
from forebay.errors import InvalidRequest

from jobs.combinations import Value, bins, combinations
from registry.dtypes import DType

DTYPES = {
    name: DType.parse(text)
    for name, text in {
        "user_id": "int64",
        "small": "int32",
        "hour": "float32",
        "country": "string",
        "new": "bool",
        "at": "timestamp",
        "vector": "float32[2]",
    }.items()
}


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("user_id=1,2", [1, 2]),
        ("hour= 0, 6.5 ,1e1", [0.0, 6.5, 10.0]),
        ("country=de,fr", ["de", "fr"]),
        ('country="a,b",c=d', ["a,b", "c=d"]),
        ("new=true,False", [True, False]),
        ("at=1700000000000000,2023-11-14T22:13:21", [1_700_000_000_000_000, 1_700_000_001_000_000]),
        ("at=2023-11-15T00:13:20+02:00", [1_700_000_000_000_000]),
    ],
)
def test_values_are_of_their_inputs_type(text: str, values: list[Value]) -> None:
    [(_, found)] = combinations([text], DTYPES).items()
    assert found == values
    assert list(map(type, found)) == list(map(type, values))


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        (["hour"], "not of the form"),
        (["hour="], "not of the form"),
        (["our=1"], "takes no 'our'"),
        (["hour=1", "hour=2"], "hour is given twice"),
        (["hour=1,1.0"], "a value is given twice"),
        (["user_id=1.5"], "'1.5' is no int64"),
        (["user_id=99999999999999999999"], "out of the range"),
        (["small=3000000000"], "out of the range"),
        (["hour=inf"], "finite"),
        (["hour=1e39"], "out of the range"),
        (["new=1"], "'1' is no bool"),
        (["at=yesterday"], "'yesterday' is no timestamp"),
        (["vector=1"], "only single values can be combined"),
    ],
)
def test_wrong_combinations_are_refused(texts: list[str], says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        combinations(texts, DTYPES)


@pytest.mark.parametrize("text", ["hour", "hour=", "hour=-1", "hour=nan", "hour=inf", "our=1", "country=3"])
def test_wrong_bins_are_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="bin: "):
        bins([text], DTYPES)


def test_bins_are_widths() -> None:
    assert bins(["hour=6", "user_id = 0.5"], DTYPES) == {"hour": 6.0, "user_id": 0.5}
