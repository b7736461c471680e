"""The composition root: settings become objects, with plain constructors, and this file owns their lifetimes.
Which implementation stands behind each protocol is decided here and nowhere else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forebay.v1 import admin_pb2, features_pb2, prediction_pb2, similarity_pb2

from feature_store.redis_store import RedisStore
from gateway.admission import Admission
from gateway.catalog import ViewCatalog
from gateway.deletions import EntityDeletions
from gateway.features import FeatureReads
from gateway.live import LiveRelease
from gateway.plan import CompiledRelease
from gateway.precomputed import Precomputed
from gateway.predict import Predictor
from gateway.recall import Recall
from gateway.servicers.admin import AdminServicer
from gateway.servicers.features import FeatureServicer
from gateway.servicers.prediction import PredictionServicer
from gateway.servicers.prediction_stream import StreamLimits
from gateway.servicers.similarity import SimilarityServicer
from gateway.servicers.submissions import SubmissionServicer
from gateway.shelf import Shelf
from gateway.similar import SimilaritySearch
from gateway.submissions.endings import Endings
from gateway.submissions.scripts import longest_block_s
from gateway.submissions.submission_queue import SubmissionQueue
from gateway.submissions.waiting import Waiting
from gateway.writes import FeatureWrites
from registry.registry import Registry
from runtime.batcher import BatchLimits
from runtime.clock import Clock, SystemClock
from runtime.offload import Offload
from runtime.process import freeze_garbage
from runtime.recent import RecentRequests
from runtime.redis_connection import RedisConnection
from runtime.rpc.server import RpcServer
from runtime.settings import Settings

PREDICTION = prediction_pb2.DESCRIPTOR.services_by_name["PredictionService"]
FEATURES = features_pb2.DESCRIPTOR.services_by_name["FeatureService"]
SIMILARITY = similarity_pb2.DESCRIPTOR.services_by_name["SimilarityService"]
ADMIN = admin_pb2.DESCRIPTOR.services_by_name["AdminService"]


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a gateway answers, as bound: HOST:PORT."""

    gateway: str
    admin: str


async def serve(
    settings: Settings,
    redis_url: str,
    stop: asyncio.Event,
    ready: Callable[[Addresses], None],
    clock: Clock | None = None,
) -> None:
    """Serve the application until `stop` is set, then drain.

    Binds at once and reports NOT_SERVING; `ready` is called when the first release is in service.

    Raises: NotUsable when the application was never applied; Unavailable when a port can't be bound.
    """
    clock = clock or SystemClock()
    async with AsyncExitStack() as stack:
        connection = RedisConnection.open(redis_url, settings.redis, clock)
        stack.push_async_callback(connection.aclose)
        offload = Offload(
            clock, threads=settings.gateway.offload_threads, inline_below_s=settings.gateway.inline_below_s
        )
        stack.callback(offload.close)
        registry = Registry(connection, settings.app, clock)
        live = LiveRelease(registry, lambda root: shelf(settings, root), settings.registry.poll_s)
        recent = RecentRequests(settings.server.recent_requests)
        store = RedisStore(connection, settings.feature_store)
        limits = BatchLimits(members=settings.gateway.batch_members)
        precomputed = Precomputed(store, clock, settings.gateway.precomputed_wait_s)
        recall = Recall(clock, settings.recall)
        admission = Admission(settings.admission, clock)
        predictor = Predictor(
            store,
            offload,
            clock,
            limits,
            precomputed,
            settings.gateway.reply_reserve_s,
            recall=recall,
            admission=admission,
        )
        stack.push_async_callback(predictor.aclose)
        charge = admission.charge if admission.charges else None
        gateway = RpcServer(
            settings.server.bind,
            settings.server,
            clock,
            recent,
            shares_port=settings.server.processes > 1,
            charge=charge,
        )
        streams = StreamLimits(settings.gateway.stream_messages, settings.server.max_timeout_s, charge)
        submissions = _submissions(settings, redis_url, connection, live, clock, stack, gateway)
        gateway.add(PREDICTION, PredictionServicer(live, predictor, streams, clock, recent, submissions))
        reads, writes = FeatureReads(store, clock), FeatureWrites(store, clock, recall.wrote)
        lateness_s = settings.feature_store.max_lateness_s
        deletions = EntityDeletions(store, clock, registry.stored_generations, lateness_s, recall.wrote)
        catalog = ViewCatalog(registry.batch_records, clock)
        gateway.add(FEATURES, FeatureServicer(live, reads, writes, deletions, catalog, admission))
        gateway.add(SIMILARITY, SimilarityServicer(live, SimilaritySearch(offload), admission))
        admin = RpcServer(settings.server.admin, settings.server, clock, RecentRequests(1))
        admin.add(ADMIN, AdminServicer(live, predictor, recent, settings.app, clock.now_us()))
        stack.push_async_callback(gateway.aclose)
        stack.push_async_callback(admin.aclose)
        addresses = Addresses(await gateway.start(), await admin.start())
        stack.push_async_callback(gateway.drain)

        announced, number = False, 0

        async def in_service(release: CompiledRelease) -> None:
            nonlocal announced, number
            if release.number == number:  # in a registry that was set up anew
                recall.adopt(0)
            number = release.number
            recall.adopt(number)
            await gateway.set_serving()
            await admin.set_serving()
            if not announced:
                announced = True
                freeze_garbage()
                ready(addresses)

        await either(live.follow(in_service), stop.wait())


def _submissions(
    settings: Settings,
    redis_url: str,
    connection: RedisConnection,
    live: LiveRelease,
    clock: Clock,
    stack: AsyncExitStack,
    gateway: RpcServer,
) -> SubmissionServicer:
    """Return what takes predictions to be made later. Who waits for one when the server stops is told."""
    queue = SubmissionQueue(connection, settings.app, settings.submissions, clock)
    endings = Endings(
        lambda: RedisConnection.open(redis_url, settings.redis, clock),
        settings.app,
        longest_block_s(settings.redis),
    )
    stack.push_async_callback(endings.aclose)
    waiting = Waiting(queue, endings, clock, settings.submissions.poll_s)
    stack.enter_context(gateway.stopping.telling(waiting.hurry))
    return SubmissionServicer(live, queue, waiting, settings.submissions, clock)


def shelf(settings: Settings, root: Path) -> Shelf:
    """Return where an application's indexes and models are kept, loaded."""
    return Shelf(settings.app, settings.artifacts, root, settings.ann_index, settings.onnx)


async def either(first: Coroutine[Any, Any, object], second: Coroutine[Any, Any, object]) -> None:
    """Return, or raise, as soon as one of the two ends; the other is cancelled."""
    tasks = [asyncio.ensure_future(first), asyncio.ensure_future(second)]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
