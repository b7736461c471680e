"""An application of one swapped view of many rows, whose refresh takes long enough to be killed half way."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from redis import Redis

from tests.support.served_application import environment, forebay

COLUMNS = 10
VIEW_ID = 1
"""Of the only view of an empty store's first application."""
YAML = """\
app: wide
entities: {item: {key: {item_id: int64}}}
sources: {items: {parquet: items.parquet}}
views:
  wide:
    entity: item
    batch: {source: items}
    features: {%s}
"""


@dataclass(frozen=True)
class WideApplication:
    """The application in its directory, and the commands on its store."""

    directory: Path
    redis_url: str

    def write(self, rows: int, seed: int = 1) -> None:
        """Write the source anew, with other values for another seed."""
        random = np.random.default_rng(seed)
        columns: dict[str, Any] = {f"f{number}": random.random(rows, np.float32) for number in range(COLUMNS)}
        pq.write_table(pa.table({"item_id": np.arange(rows), **columns}), self.directory / "items.parquet")

    def apply(self) -> None:
        """Write the file and apply it."""
        features = ", ".join(f"f{number}: float32" for number in range(COLUMNS))
        (self.directory / "app.yaml").write_text(YAML % features)
        self.done("apply", "app.yaml")

    def done(self, *command: str) -> str:
        """Run a command that must succeed; return what it printed."""
        ended = forebay(self.directory, self.redis_url, *command)
        assert ended.returncode == 0, f"{command}: {ended.stdout}{ended.stderr}"
        return ended.stdout

    def refreshed(self) -> dict[str, Any]:
        """Refresh, and return what the command says of it."""
        outcome: dict[str, Any] = json.loads(self.done("refresh", "run", "--app", "wide", "--json"))
        return outcome

    def batches(self) -> list[dict[str, Any]]:
        """Return the batches' records, newest first."""
        records: list[dict[str, Any]] = json.loads(self.done("batches", "--app", "wide", "--json"))
        return records

    def killed_refresh(self, chunks: int, generation: int) -> int:
        """Kill a refresh with SIGKILL once it has noted so many chunks; return how many it had noted."""
        process = self._refreshing()
        with Redis.from_url(self.redis_url) as redis:
            while self._noted(redis, generation) < chunks:
                assert process.poll() is None, "the refresh ended before it could be killed"
                time.sleep(0.001)
            process.send_signal(signal.SIGKILL)
            process.wait()
            return self._noted(redis, generation)

    def refresh_killed_after(self, seconds: float) -> bool:
        """Kill a refresh so long after it began; return whether it was still running then."""
        process = self._refreshing()
        try:
            return process.wait(seconds) != 0
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            return True

    def _refreshing(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "cli.main", "refresh", "run", "--app", "wide"],
            cwd=self.directory,
            env={**environment(), "FOREBAY_REDIS_URL": self.redis_url},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def rows(self) -> dict[bytes, bytes]:
        """Return every row that is stored, of any generation, by its key."""
        with Redis.from_url(self.redis_url) as redis:
            keys = sorted(redis.scan_iter("f{*", count=10_000))
            return dict(zip(keys, redis.mget(keys) if keys else [], strict=True))

    def others(self) -> set[bytes]:
        """Return the keys that aren't rows."""
        with Redis.from_url(self.redis_url) as redis:
            return set(redis.scan_iter("forebay:*", count=10_000))

    def _noted(self, redis: Redis, generation: int) -> int:
        return int(redis.llen(f"forebay:{{wide}}:generations:{VIEW_ID}:{generation}"))
