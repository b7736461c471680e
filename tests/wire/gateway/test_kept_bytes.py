"""Precomputed answers as format 1 has them, byte for byte: they outlive the server that made them."""

from gateway.kept_answer import KeptAnswer
from gateway.precomputed.kept_bytes import StoredAnswer, packed, unpacked
from gateway.precomputed.keys import AnswerKeys, KeyPart
from registry.dtypes import DType
from registry.precomputed import PrecomputedPart

STORED = StoredAnswer(KeptAnswer(b"\x0a\x00", 258, 1_700_000_000_000_000, 2**63 - 1, degraded=True), 10)
WHOLE = (
    "01"  # format
    "01"  # flags: degraded
    "0a000000"  # rows
    "0201000000000000"  # release
    "00401e18240a0600"  # made
    "ffffffffffffff7f"  # stale at
    "75fa36bb"  # checksum
    "0a00"  # body
)


def test_answer_is_written_as_format_1() -> None:
    assert packed(STORED).hex() == WHOLE


def test_answer_of_format_1_is_read() -> None:
    assert unpacked(bytes.fromhex(WHOLE)) == STORED


def test_keys_are_what_they_were() -> None:
    parts = [
        KeyPart(PrecomputedPart("user_id"), DType.parse("int64")),
        KeyPart(PrecomputedPart("hour"), DType.parse("float32")),
        KeyPart(PrecomputedPart("country"), DType.parse("string")),
        KeyPart(PrecomputedPart("vector"), DType.parse("float32[2]")),
    ]
    keys = AnswerKeys("shop", "home", 3, parts)
    values = {"user_id": 42, "hour": 0.1, "country": "a:b", "vector": [1.0, 2.0]}
    assert keys.find(values, exact=True) == (  # type: ignore[arg-type]
        b"p{42:0.10000000149011612:a%3Ab:42f796cded228dc080ef1964ee5d73c3}shop/home:3"
    )
