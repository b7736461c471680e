"""The part of the settings that says how Redis or Valkey is reached."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PositiveFloat, PositiveInt

from runtime.settings_group import Group


def _redis_url(text: str) -> str:
    if text and not re.match(r"(rediss?(\+cluster|\+sentinel)?|unix)://", text):
        raise ValueError(
            "a Redis URL begins with redis://, redis+cluster:// or redis+sentinel:// (rediss for TLS), or unix://"
        )
    return text


RedisUrl = Annotated[str, AfterValidator(_redis_url)]


class RedisSettings(Group):
    """How the online store and the registry reach Redis or Valkey."""

    url: RedisUrl = Field(default="", repr=False)
    """Where the server is: `redis://[user:password@]host[:port][/db]` or `unix://path`; a cluster is
    `redis+cluster://host:port,host:port`, servers that sentinels watch `redis+sentinel://host:port,host:port/name`;
    `rediss` in place of `redis` for TLS. Empty: start, or join, the embedded store in `embedded_directory`.
    Also `FOREBAY_REDIS_URL`. docs/redis.md has more of each."""

    tls_ca_file: str = ""
    """Certificates (PEM) that a `rediss` server's must be signed by. Empty: those that the machine trusts."""

    tls_certificate_file: str = ""
    """Our certificate (PEM), for a `rediss` server that asks for one."""

    tls_key_file: str = ""
    """The key of `tls_certificate_file` (PEM, without a passphrase). Empty: it is in the same file."""

    read_from: Literal["primary", "replica"] = "primary"
    """Where feature rows are read. `replica` takes load off the primary; rows are then older by the lag of
    replication, and a write isn't seen at once by who made it. Where no replica is usable rows are read from
    the primary. Everything else is always read from the primary."""

    replica_max_silence_s: PositiveFloat = 15.0
    """Seconds since a replica has heard of its primary, after which nothing is read from it. Must exceed the
    server's repl-ping-replica-period (10 s)."""

    embedded_directory: Path = Path(".forebay")
    """Directory of the embedded store's data and socket; used only where `url` is empty."""

    connect_timeout_s: PositiveFloat = 1.0
    """Seconds that one attempt to connect may take, the handshake included."""

    max_unanswered_bytes: PositiveInt = 33_554_432
    """Bytes of requests that may wait for their replies on one connection. Past it every waiting call fails
    as Unavailable and the socket is replaced, which drops the backlog at the server too."""

    max_unanswered_age_s: PositiveFloat = 2.0
    """Seconds without a reply, while one is due, after which the server counts as gone: every waiting call
    fails as Unavailable and the socket is replaced. Must exceed the slowest command; too low turns a stall
    into an outage."""

    reconnect_first_s: PositiveFloat = 0.01
    """Seconds before the second attempt to reconnect (the first is made at once); each further wait is twice
    as long, and each is shortened at random by up to a half, so that servers don't return all at once."""

    reconnect_longest_s: PositiveFloat = 1.0
    """Longest wait in seconds between two attempts to reconnect, and so the delay with which a server that is
    back is noticed."""
