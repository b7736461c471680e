"""Where a Redis URL points and how to get in: `redis://[user:password@]host[:port][/db]`, `rediss://` for
TLS, `unix://[user:password@]/path[?db=1]`. redis-py's parser reads the forms; what isn't honoured is refused.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from redis.connection import parse_url

Command = tuple[bytes | str | int, ...]

_VERIFICATION = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}
_TLS_OPTIONS = {
    "ssl_ca_certs",
    "ssl_ca_data",
    "ssl_ca_path",
    "ssl_cert_reqs",
    "ssl_certfile",
    "ssl_check_hostname",
    "ssl_keyfile",
    "ssl_password",
}
_OPTIONS = {"connection_class", "db", "host", "password", "path", "port", "username"}


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Paths of what TLS needs, where the URL doesn't name it: who is trusted, and who we are."""

    ca: str = ""
    certificate: str = ""
    key: str = ""


NO_FILES = TlsFiles()


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """A server's place (`path` of a unix socket, else `host` and `port`), database and credentials."""

    host: str = "localhost"
    port: int = 6379
    path: str = ""
    db: int = 0
    username: str = ""
    password: str = field(default="", repr=False)
    tls: ssl.SSLContext | None = None

    @property
    def name(self) -> str:
        """The place as messages call it; never a credential."""
        return self.path or f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, url: str, tls: TlsFiles = NO_FILES) -> RedisAddress:
        """Return what `url` says. Raises: ValueError that repeats no part of the URL but option names."""
        scheme = urlsplit(url).scheme
        if scheme not in ("redis", "rediss", "unix"):
            raise ValueError("a Redis URL begins with redis://, rediss:// or unix://")
        options: dict[str, Any] = dict(parse_url(url))  # type: ignore[no-untyped-call]
        _refuse_unknown(options, _OPTIONS | _TLS_OPTIONS if scheme == "rediss" else _OPTIONS)
        if scheme == "unix" and not options.get("path"):
            raise ValueError("a unix:// URL needs the path of a socket")
        if scheme != "unix" and options.get("db") is None and urlsplit(url).path.strip("/"):
            raise ValueError("the path of a Redis URL is the number of a database, as in redis://host/0")
        if options.get("username") and not options.get("password"):
            raise ValueError("the Redis URL has a user without a password")
        context = _tls_context(_with_files(options, tls)) if scheme == "rediss" else None
        places = {name: options[name] for name in _OPTIONS - {"connection_class"} if options.get(name)}
        return cls(**places, tls=context)

    def handshake(self) -> tuple[list[Command], list[Command]]:
        """Return the commands that open a session, and the last, PING, which is refused until the server is
        ready: what else is asked of it goes between."""
        commands: list[Command] = []
        if self.password:
            user = (self.username,) if self.username else ()
            commands.append(("AUTH", *user, self.password))
        if self.db:
            commands.append(("SELECT", self.db))
        commands.append(("CLIENT", "SETNAME", "forebay"))
        return commands, [("PING",)]


def _refuse_unknown(options: Mapping[str, Any], known: set[str]) -> None:
    unknown = sorted(set(options) - known)
    if unknown:
        raise ValueError(f"the Redis URL has options that are not supported: {', '.join(unknown)}")


def _with_files(options: Mapping[str, Any], tls: TlsFiles) -> dict[str, Any]:
    files = {"ssl_ca_certs": tls.ca, "ssl_certfile": tls.certificate, "ssl_keyfile": tls.key}
    return {**{name: path for name, path in files.items() if path}, **options}


def _tls_context(options: Mapping[str, Any]) -> ssl.SSLContext:
    """Return a context that verifies the server unless told otherwise. Raises: ValueError."""
    verification = options.get("ssl_cert_reqs", "required")
    if verification not in _VERIFICATION:
        raise ValueError("ssl_cert_reqs is none, optional or required")
    try:
        context = ssl.create_default_context(
            cafile=options.get("ssl_ca_certs"),
            capath=options.get("ssl_ca_path"),
            cadata=options.get("ssl_ca_data"),
        )
        if options.get("ssl_certfile"):
            context.load_cert_chain(
                options["ssl_certfile"], options.get("ssl_keyfile"), options.get("ssl_password")
            )
    except (OSError, ssl.SSLError) as error:
        raise ValueError(f"the TLS files of the Redis URL can't be loaded: {error}") from error
    context.check_hostname = verification != "none" and bool(options.get("ssl_check_hostname", True))
    context.verify_mode = _VERIFICATION[verification]
    return context
