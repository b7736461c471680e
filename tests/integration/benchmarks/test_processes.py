"""What the bench asks of processes and of the store, with real ones."""

from __future__ import annotations

import sys
from pathlib import Path

import hiredis
import pytest

from benchmarks.processes import CommandFailed, run_peak_mb
from benchmarks.raw_store import RawStore
from runtime.embedded_store import TemporaryStore

_MB = 1_000_000


def test_the_peak_is_that_of_the_process_when_it_has_given_memory_back(tmp_path: Path) -> None:
    held = b"x" * (200 * _MB)
    small = run_peak_mb([sys.executable, "-c", "pass"], tmp_path)
    del held
    large = run_peak_mb([sys.executable, "-c", f"held = b'x' * {200 * _MB}; del held"], tmp_path)
    assert small < 100  # not what this process has
    assert 200 < large < 300


def test_what_a_process_said_last_is_told_when_it_fails(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="no room"):
        run_peak_mb([sys.executable, "-c", "raise SystemExit('no room')"], tmp_path)


def test_every_reply_is_read_when_many_commands_are_pipelined() -> None:
    with TemporaryStore() as store, RawStore(store.socket) as raw:
        raw.execute_many([("INCR", "count")] * 100)
        assert raw.execute("GET", "count") == b"100"
        with pytest.raises(hiredis.ReplyError, match="WRONGTYPE"):
            raw.execute_many([("SET", "text", "a"), ("LPUSH", "text", "b")])
