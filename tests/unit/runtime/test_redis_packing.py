"""Commands as Redis reads them."""

from __future__ import annotations

import hiredis
import pytest

from runtime.redis_connection.packing import Argument, packed, packed_many


@pytest.mark.parametrize(
    "arguments",
    [
        (b"PING",),
        (b"MGET", *[b"k" * length for length in range(300)]),
        (b"SET", b"key", b"\x00\r\n" * 5_000),
        (b"SET", b"", b""),
        ("GET", "clé"),
        (b"EXPIRE", "key", 30),
    ],
)
def test_command_is_packed_as_hiredis_does_when_of_any_arguments(arguments: tuple[Argument, ...]) -> None:
    assert packed(list(arguments)) == hiredis.pack_command(arguments)  # type: ignore[arg-type]
    assert packed_many([arguments, (b"PING",)]) == packed(arguments) + packed((b"PING",))


def test_argument_is_refused_when_it_is_no_text_bytes_or_number() -> None:
    with pytest.raises(TypeError):
        packed((b"GET", None))  # type: ignore[arg-type]
