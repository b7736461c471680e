"""The composition root of a gateway: settings become objects, with plain constructors, and this file owns
their lifetimes. What makes predictions is put together in `backend.py`; here are the ports around it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

from forebay.v1 import admin_pb2, features_pb2, prediction_pb2, similarity_pb2

from gateway.admission import Admission
from gateway.backend import Backend, open_backend
from gateway.catalog import ViewCatalog
from gateway.deletions import EntityDeletions
from gateway.features import FeatureReads
from gateway.plan import CompiledRelease
from gateway.servicers.admin import AdminServicer
from gateway.servicers.features import FeatureServicer
from gateway.servicers.prediction import PredictionServicer
from gateway.servicers.prediction_stream import StreamLimits
from gateway.servicers.similarity import SimilarityServicer
from gateway.servicers.submissions import SubmissionServicer
from gateway.similar import SimilaritySearch
from gateway.submissions.endings import Endings
from gateway.submissions.scripts import longest_block_s
from gateway.submissions.submission_queue import SubmissionQueue
from gateway.submissions.waiting import Waiting
from gateway.writes import FeatureWrites
from runtime.batcher import BatchLimits
from runtime.clock import Clock, SystemClock
from runtime.process import either, freeze_garbage
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
        admission = Admission(settings.admission, clock)
        limits = BatchLimits(members=settings.gateway.batch_members)
        backend = open_backend(settings, redis_url, clock, stack, limits=limits, admission=admission)
        live, predictor, recall = backend.live, backend.predictor, backend.predictor.recall
        recent = RecentRequests(settings.server.recent_requests)
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
        submissions = _submissions(settings, redis_url, backend, clock, stack, gateway)
        gateway.add(PREDICTION, PredictionServicer(live, predictor, streams, clock, recent, submissions))
        gateway.add(FEATURES, _features(settings, backend, clock, admission))
        gateway.add(SIMILARITY, SimilarityServicer(live, SimilaritySearch(backend.offload), admission))
        admin = RpcServer(settings.server.admin, settings.server, clock, RecentRequests(1))
        admin.add(
            ADMIN, AdminServicer(live, predictor, recent, settings.app, clock.now_us(), backend.store.stats)
        )
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
            predictor.keep_only(release)
            await gateway.set_serving()
            await admin.set_serving()
            if not announced:
                announced = True
                freeze_garbage()
                ready(addresses)

        await either(live.follow(in_service), stop.wait())


def _features(settings: Settings, backend: Backend, clock: Clock, admission: Admission) -> FeatureServicer:
    """Return what reads, writes and deletes rows. A write ends the answers that were made from its rows."""
    store, registry, wrote = backend.store, backend.registry, backend.predictor.recall.wrote
    return FeatureServicer(
        backend.live,
        FeatureReads(store, clock),
        FeatureWrites(store, clock, wrote),
        EntityDeletions(
            store,
            clock,
            registry.stored_generations,
            registry.note_deleted,
            settings.feature_store.max_lateness_s,
            wrote,
        ),
        ViewCatalog(registry.batch_records, clock),
        admission,
    )


def _submissions(
    settings: Settings,
    redis_url: str,
    backend: Backend,
    clock: Clock,
    stack: AsyncExitStack,
    gateway: RpcServer,
) -> SubmissionServicer:
    """Return what takes predictions to be made later. Who waits for one when the server stops is told."""
    queue = SubmissionQueue(backend.connection, settings.app, settings.submissions, clock)
    endings = Endings(
        lambda: RedisConnection.open(redis_url, settings.redis, clock),
        settings.app,
        longest_block_s(settings.redis),
    )
    stack.push_async_callback(endings.aclose)
    waiting = Waiting(queue, endings, clock, settings.submissions.poll_s)
    stack.enter_context(gateway.stopping.telling(waiting.hurry))
    return SubmissionServicer(backend.live, queue, waiting, settings.submissions, clock)
