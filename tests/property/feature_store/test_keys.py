"""No two entities share a key."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store.keys import canonical_texts, row_keys
from feature_store.types import KeyField
from registry.dtypes import DType, Scalar
from registry.key_text import string_of, string_texts
from tests.support.examples import examples

QUICK = settings(deadline=None, max_examples=examples(100))
TEXT, INTEGER = KeyField("t", DType(Scalar.STRING)), KeyField("i", DType(Scalar.INT64))
texts = st.text(
    st.sampled_from("ab{}:%7BD3A25 \n\x00é\u0301🎬") | st.characters(codec="utf-8"), min_size=1, max_size=6
)
integers = st.integers(-(2**63), 2**63 - 1)
pairs = st.tuples(texts, texts, integers)


@QUICK
@given(st.lists(pairs, min_size=1, max_size=20, unique=True))
def test_keys_are_distinct_when_composite_keys_are(rows: list[tuple[str, str, int]]) -> None:
    fields = [TEXT, KeyField("u", TEXT.dtype), INTEGER]
    found = canonical_texts(fields, list(map(list, zip(*rows, strict=True))))
    keys = row_keys(1, 2, 3, found)
    assert len(set(keys)) == len(rows)
    assert keys == [f"f{{1:{text}}}2:3".encode() for text in found]
    assert all(key.count(b"{") == 1 and key.count(b"}") == 1 for key in keys)


@QUICK
@given(st.lists(texts, max_size=20))
def test_strings_come_back_when_their_texts_are_read(values: list[str]) -> None:
    assert list(map(string_of, string_texts(values))) == values


@QUICK
@given(st.lists(integers, max_size=20))
def test_texts_are_equal_when_integers_come_as_text(values: list[int]) -> None:
    assert canonical_texts([INTEGER], [values]) == canonical_texts([INTEGER], [list(map(str, values))])
