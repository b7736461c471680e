"""Keys by position and back."""

from pathlib import Path

import numpy as np
import pytest
from forebay.errors import Corrupt, InvalidRequest

from ann_index.entity_keys import EntityKeys, Keys, key_file_names, load_keys, sorted_keys
from registry.dtypes import Scalar

STRINGS = ["b", "a:1", "é", "", "{x}", "𝄞", "Z"]


def saved(keys: EntityKeys, dtype: Scalar, directory: Path) -> EntityKeys:
    files = keys.files()
    assert tuple(files) == key_file_names(dtype)
    for name, array in files.items():
        np.save(directory / name, array)
    return load_keys(dtype, {name: directory / name for name in files})


def test_integers_ascend_when_given_in_any_order() -> None:
    keys, order = sorted_keys([30, -1, 7], Scalar.INT64)
    assert order.tolist() == [1, 2, 0]
    assert keys.values(np.arange(3)).tolist() == [-1, 7, 30]
    assert keys.texts_of(np.array([2, 0])) == ["30", "-1"]
    assert keys.positions([7, 8, -1, 31, 30]).tolist() == [1, -1, 0, -1, 2]


def test_strings_ascend_by_code_point_and_escape_when_given_in_any_order() -> None:
    keys, order = sorted_keys(STRINGS, Scalar.STRING)
    assert [STRINGS[row] for row in order] == sorted(STRINGS)
    assert keys.values(np.arange(keys.count)) == sorted(STRINGS)
    assert keys.texts_of(keys.positions(["a:1", "{x}"])) == ["a%3A1", "%7Bx%7D"]
    assert keys.positions(["a:1", "nobody"]).tolist() == [sorted(STRINGS).index("a:1"), -1]


@pytest.mark.parametrize(
    ("values", "dtype"),
    [([5, 3, 2**62], Scalar.INT64), ([5, -3], Scalar.INT32), (STRINGS, Scalar.STRING), ([""], Scalar.STRING)],
)
def test_keys_are_the_same_when_saved_and_loaded(values: Keys, dtype: Scalar, tmp_path: Path) -> None:
    keys, _ = sorted_keys(values, dtype)
    loaded = saved(keys, dtype, tmp_path)
    everything = np.arange(len(values))
    assert list(loaded.values(everything)) == list(keys.values(everything)) == sorted(values)
    assert loaded.texts_of(everything) == keys.texts_of(everything)
    assert loaded.positions(keys.values(everything)).tolist() == everything.tolist()


@pytest.mark.parametrize(
    ("values", "dtype", "message"),
    [
        ([1, 2, 1], Scalar.INT64, "more than once"),
        (["a", "b", "a"], Scalar.STRING, "more than once"),
        ([1, 2**31], Scalar.INT32, "doesn't fit int32"),
        ([2**63], Scalar.INT64, "doesn't fit int64"),
        ([2**70], Scalar.INT64, "64 bits"),
        ([1.5], Scalar.INT64, "integers"),
        ([True], Scalar.INT64, "integers"),
        (["1"], Scalar.INT64, "integers"),
        ([1], Scalar.STRING, "strings"),
        (["\ud800"], Scalar.STRING, "Unicode"),
        (["x" * 513], Scalar.STRING, "512 bytes"),
        ([1.5], Scalar.FLOAT32, "not float32"),
    ],
)
def test_keys_are_refused_when_an_index_cannot_have_them(values: Keys, dtype: Scalar, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message) as caught:
        sorted_keys(values, dtype)
    assert caught.value.field == "keys"


@pytest.mark.parametrize(("values", "dtype"), [([1, 2], Scalar.INT64), (["a", "b"], Scalar.STRING)])
def test_padding_is_refused_when_asked_for_its_key(values: Keys, dtype: Scalar) -> None:
    keys, _ = sorted_keys(values, dtype)
    with pytest.raises(ValueError, match="padding"):
        keys.values(np.array([0, -1]))
    with pytest.raises(ValueError, match="padding"):
        keys.texts_of(np.array([-1]))


def test_unknown_keys_are_found_nowhere_when_there_are_none_or_the_type_differs() -> None:
    integers, _ = sorted_keys([], Scalar.INT64)
    assert integers.positions([1, 2]).tolist() == [-1, -1]
    assert integers.positions([]).tolist() == []
    with pytest.raises(InvalidRequest) as caught:
        integers.positions(["1"])
    assert caught.value.field == "key"


@pytest.mark.parametrize("content", [b"", b"not an array", b"\x93NUMPY\x01\x00\x04\x00oops"])
def test_loading_is_refused_when_a_file_is_no_array(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "keys.npy").write_bytes(content)
    with pytest.raises(Corrupt, match=r"keys\.npy"):
        load_keys(Scalar.INT64, {"keys.npy": tmp_path / "keys.npy"})


def test_pickles_are_not_opened_when_an_array_file_holds_one(tmp_path: Path) -> None:
    np.save(tmp_path / "keys.npy", np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(Corrupt):
        load_keys(Scalar.INT64, {"keys.npy": tmp_path / "keys.npy"})


def test_loading_is_refused_when_the_array_has_another_type(tmp_path: Path) -> None:
    np.save(tmp_path / "keys.npy", np.arange(3, dtype=np.int32))
    with pytest.raises(Corrupt, match="int64"):
        load_keys(Scalar.INT64, {"keys.npy": tmp_path / "keys.npy"})
