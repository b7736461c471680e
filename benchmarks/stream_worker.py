"""Applies what a stream holds, once, in this process, and prints how long that took: what `forebay stream
run --once` does, without the process's start. By hand: `python -m benchmarks.stream_worker --app APP --redis
URL`."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from typing import Any

import uvloop

from jobs.stream.session import Sessions
from jobs.stream.worker import StreamWorker
from runtime.clock import SystemClock
from runtime.redis_connection import RedisConnection
from runtime.settings import load_settings


async def _main(app: str, url: str) -> dict[str, Any]:
    settings, clock = load_settings(app=app, redis_url=url), SystemClock()
    connection = await RedisConnection.connect(url, settings.redis, clock)
    try:
        worker = StreamWorker(Sessions(settings, url, app, clock), connection, once=True)
        start_s, used_s = time.perf_counter(), time.process_time()
        await worker.run(asyncio.Event())
        applied = sum(state.counts["applied"] for state in worker.state.partitions.values())
        return {
            "applied": applied,
            "seconds": time.perf_counter() - start_s,
            "cpu_s": time.process_time() - used_s,
        }
    finally:
        await connection.aclose()


def main() -> int:
    """Apply what there is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--app", required=True)
    parser.add_argument("--redis", required=True, metavar="URL")
    options = parser.parse_args()
    json.dump(uvloop.run(_main(options.app, options.redis)), sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
