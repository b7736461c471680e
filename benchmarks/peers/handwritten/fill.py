"""Loads the rows: `python -m benchmarks.peers.handwritten.fill --socket PATH --data DIRECTORY`, where the
directory holds keys.npy, and static.npy, stream.npy and vector.npy with a row per key."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import redis

from benchmarks.peers.handwritten.rows import key, packed

_CHUNK = 1_000


def main() -> int:
    """Write every row of every view."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    options = parser.parse_args()
    client = redis.Redis(unix_socket_path=str(options.socket))
    keys = np.load(options.data / "keys.npy").tolist()
    now_us = time.time_ns() // 1_000
    for view in ("static", "stream", "vector"):
        values = np.load(options.data / f"{view}.npy")  # (items, columns) float32
        for start in range(0, len(keys), _CHUNK):
            pipeline = client.pipeline(transaction=False)
            for place in range(start, min(start + _CHUNK, len(keys))):
                row = values[place]
                pipeline.set(
                    key(keys[place], view),
                    packed(now_us, row.tobytes() if view == "vector" else row.tolist()),
                )
            pipeline.execute()
    return 0


if __name__ == "__main__":
    sys.exit(main())
