"""The forms of a Redis URL beyond one server, and where commands belong in a cluster."""

from __future__ import annotations

import pytest
from forebay.errors import Unavailable

from runtime.redis_connection.redis_url import RedisUrl
from runtime.redis_connection.slots import SlotRange, command_key, slot_of, slot_ranges


def test_nodes_share_credentials_when_the_url_names_a_cluster() -> None:
    url = RedisUrl.parse("redis+cluster://ann:pw@a:7000,b,[::1]:7002")
    assert url.kind == "cluster"
    assert [(place.host, place.port) for place in url.places] == [("a", 7000), ("b", 6379), ("::1", 7002)]
    assert {(place.username, place.password) for place in url.places} == {("ann", "pw")}
    found = url.at("c", 7005)
    assert (found.name, found.username, found.tls) == ("c:7005", "ann", None)
    assert RedisUrl.parse("rediss+cluster://a").at("c", 1).tls is not None


def test_sentinels_have_credentials_of_their_own_when_the_url_names_sentinels() -> None:
    url = RedisUrl.parse("redis+sentinel://ann:pw@a,b:5/mymaster/3?sentinel_password=x")
    assert (url.kind, url.primary) == ("sentinel", "mymaster")
    assert [(place.name, place.username, place.password, place.db) for place in url.places] == [
        ("a:26379", "", "x", 0),
        ("b:5", "", "x", 0),
    ]
    found = url.at("c", 6379)
    assert (found.username, found.password, found.db) == ("ann", "pw", 3)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("redis+ring://a:1", "begins with redis://"),
        ("redis+sentinel://a,b", "ends with the name"),
        ("redis+cluster://a,,b", "host:port,host:port"),
        ("redis+cluster://a/1", "no databases but 0"),
        ("redis+sentinel://a/mymaster/secret", "number of a database"),
        ("redis+cluster://a?retries=secret", "not supported: retries"),
    ],
)
def test_url_is_refused_when_its_form_is_wrong(url: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        RedisUrl.parse(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "slot"),
    [(b"123456789", 0x31C3), (b"f{3:7}12:1", slot_of(b"3:7")), (b"a{}b{c}", slot_of(b"a{}b{c}")), (b"", 0)],
)
def test_slot_is_of_what_braces_hold_when_they_hold_something(key: bytes, slot: int) -> None:
    assert slot_of(key) == slot


@pytest.mark.parametrize(
    ("command", "key"),
    [
        (("GET", "k"), b"k"),
        (("PING",), None),
        (("info", "memory"), None),
        (("EVALSHA", "sha", 0), None),
        (("EVAL", "text", 2, b"k", "l", "arg"), b"k"),
        (("XREAD", "COUNT", 1, "BLOCK", 5, "STREAMS", "k", "$"), b"k"),
        ((b"XREADGROUP", b"GROUP", b"g", b"w", b"STREAMS", b"k", b">"), b"k"),
        (("XGROUP", "CREATE", "k", "g", 0), b"k"),
        (("MEMORY", "USAGE", "k"), b"k"),
    ],
)
def test_key_is_found_when_a_command_has_one(command: tuple[str | int, ...], key: bytes | None) -> None:
    assert command_key(command) == key


def test_slots_are_read_when_a_node_does_not_know_its_own_host() -> None:
    reply = [[0, 5460, [b"", 7000, b"id", []], [b"b", 7001, b"id"]], [5461, 16383, [None, 7002, b"id"]]]
    assert slot_ranges(reply, "asked") == [
        SlotRange(0, 5460, ("asked", 7000), (("b", 7001),)),
        SlotRange(5461, 16383, ("asked", 7002), ()),
    ]


@pytest.mark.parametrize("reply", [[], None, b"OK", [[0, 1]], [[0, 1, []]]])
def test_slots_are_unknown_when_the_reply_makes_no_sense(reply: object) -> None:
    with pytest.raises(Unavailable):
        slot_ranges(reply, "asked")
