"""Error replies and the kinds of failure that they are."""

from __future__ import annotations

import pytest
from forebay.errors import NotUsable, Unavailable

from runtime.redis_connection import RedisReplyError


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("LOADING Redis is loading the dataset in memory", Unavailable),
        ("READONLY You can't write against a read only replica.", Unavailable),
        ("ERR max number of clients reached", Unavailable),
        ("WRONGPASS invalid username-password pair or user is disabled.", NotUsable),
        ("NOAUTH Authentication required.", NotUsable),
        ("MOVED 3999 10.0.0.1:6381", NotUsable),
        ("OOM command not allowed when used memory > 'maxmemory'.", NotUsable),
    ],
)
def test_reply_is_translated_when_it_is_about_the_server(text: str, kind: type[Exception]) -> None:
    assert type(RedisReplyError(text).translated()) is kind


def test_reply_stays_itself_when_it_is_about_the_command() -> None:
    error = RedisReplyError("WRONGTYPE Operation against a key holding the wrong kind of value")
    assert error.translated() is error
    assert error.code == "WRONGTYPE"
