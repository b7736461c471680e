"""The service: POST /rank {"item_id": 42} -> the item's neighbours, ranked. Prints `ready HOST:PORT`.

Tuned as one would before comparing: uvloop, httptools, hiredis, one MGET per step, rows without names, the
tensor made by one array per view, one ONNX thread, no log of accesses, the response dumped by orjson.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import onnxruntime
import orjson
import uvicorn
import uvloop
from fastapi import FastAPI, HTTPException, Response
from numpy.typing import NDArray
from pydantic import BaseModel
from redis.asyncio import Redis

from benchmarks.peers.handwritten.rows import key, unpacked

_TIMEOUT_S = 1.0
_MAX_AGE_US = 3_650 * 86_400 * 1_000_000
_WIDTHS = {"static": 50, "stream": 10}


class RankRequest(BaseModel):
    """What a caller sends."""

    item_id: int
    top: int | None = None


class Ranker:
    """Ranks the neighbours of an item."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._store: Redis = Redis(unix_socket_path=str(options.socket))
        faiss.omp_set_num_threads(1)
        self._whole = faiss.read_index(str(options.index))  # owns what is searched
        self._index = _searched(self._whole, options.effort)
        self._keys = np.load(options.keys)  # (items,) int64, in the index's order
        self._candidates = options.candidates
        session_options = onnxruntime.SessionOptions()
        session_options.intra_op_num_threads = session_options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            str(options.model), session_options, ["CPUExecutionProvider"]
        )

    async def rank(self, request: RankRequest) -> Response:
        """Answer one request within its second."""
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                answer = await self._rank(request.item_id, request.top or self._candidates)
        except TimeoutError as error:
            raise HTTPException(504, "too late") from error
        return Response(
            orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY), media_type="application/json"
        )

    async def _rank(self, item_id: int, top: int) -> dict[str, Any]:
        oldest_us = time.time_ns() // 1_000 - _MAX_AGE_US
        row = await self._store.get(key(item_id, "vector"))
        if row is None:
            raise HTTPException(404, "no such item")
        written_us, vector = unpacked(row)
        if written_us < oldest_us:
            raise HTTPException(409, "the item's vector is stale")
        query = np.frombuffer(vector, np.float32).reshape(1, -1)
        _, positions = self._index.search(query, self._candidates)
        found = self._keys[positions[0]]  # (candidates,) int64
        items = found.tolist()
        rows = await self._store.mget([key(item, view) for view in _WIDTHS for item in items])
        features = np.empty((len(items), sum(_WIDTHS.values())), np.float32)
        column = 0
        for place, width in enumerate(_WIDTHS.values()):
            block = rows[place * len(items) : (place + 1) * len(items)]
            features[:, column : column + width] = _values(block, width, oldest_us)
            column += width
        (scores,) = self._session.run(["score"], {"x": features})
        order = np.argsort(-scores[:, 0])[:top]
        return {"items": found[order], "scores": scores[order, 0]}


def _searched(index: Any, effort: int) -> Any:
    """Return the index set to this effort; without one, what scans every row of it."""
    index = faiss.downcast_index(index)
    if effort:
        index.hnsw.efSearch = effort
        return index
    return index if isinstance(index, faiss.IndexFlat) else faiss.downcast_index(index.storage)


def _values(rows: Sequence[bytes | str | None], width: int, oldest_us: int) -> NDArray[np.float32]:
    """Return (rows, width) float32, NaN where a row is missing or stale."""
    missing = [float("nan")] * width
    lists = []
    for row in rows:
        written_us, values = unpacked(row) if row is not None else (0, missing)
        lists.append(values if written_us >= oldest_us else missing)
    return np.array(lists, np.float32)


def _says(address: str) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        sys.stdout.write(f"ready {address}\n")
        sys.stdout.flush()
        yield

    return lifespan


def main() -> int:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--socket", type=Path, required=True, help="of the store")
    parser.add_argument("--index", type=Path, required=True, help="index.faiss")
    parser.add_argument("--effort", type=int, default=0, help="efSearch; 0: scan every row")
    parser.add_argument("--keys", type=Path, required=True, help=".npy: the items in the index's order")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--candidates", type=int, required=True)
    options = parser.parse_args()
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    app = FastAPI(lifespan=_says(f"127.0.0.1:{listener.getsockname()[1]}"))
    app.add_api_route("/rank", Ranker(options).rank, methods=["POST"])
    config = uvicorn.Config(app, loop="uvloop", http="httptools", access_log=False, log_level="warning")
    uvloop.run(uvicorn.Server(config).serve(sockets=[listener]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
