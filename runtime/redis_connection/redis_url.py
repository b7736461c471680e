"""The forms of a Redis URL: one server, a cluster (`redis+cluster://host:port,host:port`), or servers that
sentinels watch (`redis+sentinel://host:port,host:port/name[/db]`); each with `rediss` for TLS.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from runtime.redis_connection.address import NO_FILES, RedisAddress, TlsFiles

SCHEMES = (
    "redis",
    "rediss",
    "unix",
    "redis+cluster",
    "rediss+cluster",
    "redis+sentinel",
    "rediss+sentinel",
)
_SENTINEL_PORT = 26379
_SENTINEL_OPTIONS = ("sentinel_username", "sentinel_password")


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """What a URL says.

    `places` are the server, some nodes of a cluster, or the sentinels; `server` is what holds for every
    server that is found by them: credentials, database, TLS. `primary` is what sentinels call the servers.
    """

    kind: Literal["server", "cluster", "sentinel"]
    places: tuple[RedisAddress, ...]
    server: RedisAddress
    primary: str = ""

    @classmethod
    def parse(cls, url: str, tls: TlsFiles = NO_FILES) -> RedisUrl:
        """Return what `url` says. Raises: ValueError that repeats no part of the URL but option names."""
        base, _, kind = urlsplit(url).scheme.partition("+")
        if urlsplit(url).scheme not in SCHEMES:
            raise ValueError(f"a Redis URL begins with {'://, '.join(SCHEMES)}://")
        if not kind:
            address = RedisAddress.parse(url, tls)
            return cls("server", (address,), address)
        if kind == "cluster":
            places = tuple(RedisAddress.parse(one, tls) for one in _each(url, base))
            if any(place.db for place in places):
                raise ValueError("a Redis cluster has no databases but 0")
            return cls("cluster", places, places[0])
        return cls._sentinel(url, base, tls)

    @classmethod
    def _sentinel(cls, url: str, base: str, tls: TlsFiles) -> RedisUrl:
        parts = urlsplit(url)
        primary, _, db = parts.path.strip("/").partition("/")
        if not primary:
            raise ValueError("a redis+sentinel:// URL ends with the name of the servers: /mymaster")
        options = dict(parse_qsl(parts.query))
        given = {name: options.pop(name, "") for name in _SENTINEL_OPTIONS}
        plain = urlunsplit((parts.scheme, parts.netloc, f"/{db}", urlencode(options), ""))
        servers = [RedisAddress.parse(one, tls) for one in _each(plain, base, _SENTINEL_PORT)]
        places = tuple(
            replace(one, username=given["sentinel_username"], password=given["sentinel_password"], db=0)
            for one in servers
        )
        return cls("sentinel", places, servers[0], primary)

    def at(self, host: str, port: int) -> RedisAddress:
        """Return the address of one of the servers."""
        return replace(self.server, host=host, port=port)


def _each(url: str, base: str, port: int = 6379) -> list[str]:
    """Return a URL of one server for each place that `url` names."""
    parts = urlsplit(url)
    user, at, hosts = parts.netloc.rpartition("@")
    places = [host.strip() for host in hosts.split(",")]
    if not all(places):
        raise ValueError("a Redis URL of several servers names them as host:port,host:port")
    with_ports = [place if _has_port(place) else f"{place}:{port}" for place in places]
    return [urlunsplit((base, f"{user}{at}{place}", parts.path, parts.query, "")) for place in with_ports]


def _has_port(place: str) -> bool:
    return place.rpartition(":")[2].isdecimal() and not place.endswith("]")
