"""The forms of a Redis URL."""

from __future__ import annotations

import ssl

import pytest

from runtime.redis_connection.address import RedisAddress


def test_parts_are_read_when_the_url_is_complete() -> None:
    address = RedisAddress.parse("redis://ann:s%40cret@cache.internal:6380/3")
    assert address == RedisAddress("cache.internal", 6380, "", 3, "ann", "s@cret")
    assert address.name == "cache.internal:6380"


def test_defaults_hold_when_only_a_host_is_given() -> None:
    assert RedisAddress.parse("redis://cache") == RedisAddress(host="cache")


def test_path_and_database_are_read_when_the_socket_is_local() -> None:
    address = RedisAddress.parse("unix://:secret@/run/a%20b/store.sock?db=2")
    assert (address.path, address.db, address.password) == ("/run/a b/store.sock", 2, "secret")


def test_server_is_verified_when_the_scheme_is_rediss() -> None:
    tls = RedisAddress.parse("rediss://cache").tls
    assert tls is not None
    assert (tls.verify_mode, tls.check_hostname) == (ssl.CERT_REQUIRED, True)


def test_server_is_not_verified_when_the_url_says_so() -> None:
    tls = RedisAddress.parse("rediss://cache?ssl_cert_reqs=none").tls
    assert tls is not None
    assert (tls.verify_mode, tls.check_hostname) == (ssl.CERT_NONE, False)


def test_password_is_hidden_when_an_address_is_printed() -> None:
    assert "secret" not in repr(RedisAddress.parse("redis://:secret@cache"))


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "begins with"),
        ("http://cache", "begins with"),
        ("cache:6379", "begins with"),
        ("redis://cache/movies", "number of a database"),
        ("redis://cache?max_connections=5", "max_connections"),
        ("redis://cache?ssl_cert_reqs=none", "ssl_cert_reqs"),
        ("redis://ann@cache", "without a password"),
        ("redis://cache:port", "port"),
        ("unix://", "path of a socket"),
        ("rediss://cache?ssl_cert_reqs=perhaps", "ssl_cert_reqs is"),
        ("rediss://cache?ssl_ca_certs=missing.pem", "TLS files"),
    ],
)
def test_url_is_refused_when_it_is_wrong(url: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RedisAddress.parse(url)


@pytest.mark.parametrize(
    ("url", "commands"),
    [
        ("redis://cache", []),
        ("redis://:pw@cache/2", [("AUTH", "pw"), ("SELECT", 2)]),
        ("redis://ann:pw@cache", [("AUTH", "ann", "pw")]),
    ],
)
def test_handshake_says_who_we_are_when_the_url_does(url: str, commands: list[tuple[str, ...]]) -> None:
    before, after = RedisAddress.parse(url).handshake()
    assert before == [*commands, ("CLIENT", "SETNAME", "forebay")]
    assert after == [("PING",)]
