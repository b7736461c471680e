"""Numbers as protobuf writes them."""

from __future__ import annotations

import pytest
from forebay.v1 import prediction_pb2 as pb

from gateway.wire_bytes import sized, varint


@pytest.mark.parametrize(
    "number", [0, 1, 127, 128, 16_383, 16_384, 2**21 - 1, 2**28, 2**35 + 5, 2**63 - 1, -1, -(2**63)]
)
def test_number_is_what_a_message_would_write_when_of_any_length(number: int) -> None:
    assert pb.StageTiming(start_us=number).SerializeToString() == (
        b"\x10" + varint(number) if number else b""
    )


@pytest.mark.parametrize("length", [0, 127, 128, 16_384])
def test_field_says_its_length_when_short_or_long(length: int) -> None:
    written = sized(b"\x0a", b"a" * length)
    assert pb.StageTiming.FromString(written).stage == "a" * length
