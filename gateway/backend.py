"""What answers predictions in a process, whoever asks for them: a gateway's callers (`app.py`) or a worker's
queue (`worker_app.py`). Which implementation stands behind each protocol is decided here and nowhere else."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from feature_store.cached_store import CachedStore
from feature_store.redis_store import RedisStore
from gateway.admission import Admission
from gateway.live import LiveRelease
from gateway.precomputed.precomputed import Precomputed
from gateway.predict import Predictor
from gateway.recall import Recall
from gateway.shelf import Shelf
from registry.registry import Registry
from runtime.batcher import BatchLimits
from runtime.clock import Clock
from runtime.offload import Offload
from runtime.redis_connection import RedisConnection
from runtime.settings import Settings


@dataclass(frozen=True, slots=True)
class Backend:
    """The release in service, and what runs requests on it."""

    connection: RedisConnection
    registry: Registry
    store: CachedStore
    offload: Offload
    live: LiveRelease
    predictor: Predictor


def open_backend(
    settings: Settings,
    redis_url: str,
    clock: Clock,
    stack: AsyncExitStack,
    *,
    limits: BatchLimits,
    admission: Admission,
) -> Backend:
    """Return the backend; `stack` ends it, the predictor first. Nothing is connected or loaded yet."""
    connection = RedisConnection.open(redis_url, settings.redis, clock)
    stack.push_async_callback(connection.aclose)
    offload = Offload(
        clock, threads=settings.gateway.offload_threads, inline_below_s=settings.gateway.inline_below_s
    )
    stack.callback(offload.close)
    store = CachedStore(RedisStore(connection, settings.feature_store), settings.feature_store, clock)
    stack.push_async_callback(store.aclose)
    predictor = Predictor(
        store,
        offload,
        clock,
        limits,
        Precomputed(store, clock, settings.gateway.precomputed_wait_s),
        settings.gateway.reply_reserve_s,
        recall=Recall(clock, settings.recall),
        admission=admission,
    )
    stack.push_async_callback(predictor.aclose)
    registry = Registry(connection, settings.app, clock)
    live = LiveRelease(registry, lambda root: shelf(settings, root), settings.registry.poll_s)
    return Backend(connection, registry, store, offload, live, predictor)


def shelf(settings: Settings, root: Path) -> Shelf:
    """Return where an application's indexes and models are kept, loaded."""
    return Shelf(settings.app, settings.artifacts, root, settings.ann_index, settings.onnx)
