"""AdminService on the wire: what operators ask of one process. Served on the admin port only."""

from __future__ import annotations

from forebay.errors import InvalidRequest
from forebay.v1 import admin_pb2 as pb
from forebay.v1 import prediction_pb2

from feature_store.near_cache import NearCacheStats
from gateway.admission import PipelineAdmission
from gateway.answer_wire import stage_message
from gateway.live import LiveRelease
from gateway.predict import Predictor
from gateway.recall import RecallStats
from runtime.batcher import Criticality
from runtime.recent import MethodCounts, RecentRequests, RequestRecord
from runtime.rpc.call import Call

DEFAULT_LIMIT = 20


class AdminServicer:
    """Answers from this process's memory; changes nothing."""

    def __init__(
        self,
        live: LiveRelease,
        predictor: Predictor,
        recent: RecentRequests,
        app: str,
        started_at_us: int,
        near: NearCacheStats,
    ) -> None:
        self._live = live
        self._predictor = predictor
        self._recent = recent
        self._app = app
        self._started_at_us = started_at_us
        self._near = near

    async def ListRecentRequests(  # noqa: N802
        self, request: pb.ListRecentRequestsRequest, call: Call
    ) -> pb.ListRecentRequestsResponse:
        if request.limit < 0:
            raise InvalidRequest("limit: must not be negative", field="limit")
        records = self._recent.latest(request.limit or DEFAULT_LIMIT, request.id)
        return pb.ListRecentRequestsResponse(requests=[_message(record) for record in records])

    async def DescribeServer(  # noqa: N802
        self, request: pb.DescribeServerRequest, call: Call
    ) -> pb.DescribeServerResponse:
        response = pb.DescribeServerResponse(
            app=self._app,
            started_at_us=self._started_at_us,
            pending_release_error=self._live.pending_error,
            calls=[_calls(method, counts) for method, counts in self._recent.counts.items()],
            degradations=[_degraded(*what, count) for what, count in self._predictor.degraded.items()],
            admission=[
                _admission(name, state) for name, state in self._predictor.admission.stats.pipelines.items()
            ],
            cache=_cache(self._predictor.recall.stats),
            near_cache=_near_cache(self._near),
        )
        if self._live.loaded:
            release = self._live.current
            response.plan, response.release = release.plan, release.number
            response.pipelines.extend(
                pb.PipelineState(name=name, usable=True, uncovered=release.uncovered.get(name, ""))
                for name in release.pipelines
            )
            response.pipelines.extend(
                pb.PipelineState(name=name, reason=reason)
                for name, reason in release.broken_pipelines.items()
            )
        return response


def _calls(method: str, counts: MethodCounts) -> pb.MethodCalls:
    return pb.MethodCalls(method=method, by_status=counts.by_status, late=counts.late)


def _degraded(pipeline: str, stage: str, reason: str, action: str, answers: int) -> pb.DegradationCount:
    return pb.DegradationCount(pipeline=pipeline, stage=stage, reason=reason, action=action, answers=answers)


def _admission(name: str, state: PipelineAdmission) -> pb.PipelineAdmission:
    return pb.PipelineAdmission(
        pipeline=name,
        in_flight=state.in_flight,
        limit=state.limits[Criticality.DEFAULT],
        admitted=sum(state.counts.admitted),
        refused=sum(state.counts.refused),
    )


def _cache(stats: RecallStats) -> pb.CacheCounts:
    return pb.CacheCounts(
        hits=stats.hits,
        stale=stats.stale,
        joined=stats.joined,
        misses=stats.misses,
        evicted=stats.evicted,
        invalidated=stats.invalidated,
        entries=stats.entries,
        bytes=stats.bytes,
    )


def _near_cache(stats: NearCacheStats) -> pb.NearCacheCounts:
    return pb.NearCacheCounts(
        hits=stats.hits,
        misses=stats.misses,
        joined=stats.joined,
        refreshed=stats.refreshed,
        evicted=stats.evicted,
        dropped=stats.dropped,
        entries=stats.entries,
        bytes=stats.bytes,
    )


def _message(record: RequestRecord) -> pb.RecentRequest:
    """Return a record; a request that failed has no provenance but for its trace and its stages."""
    provenance = record.provenance
    if provenance is None:
        stages = [stage_message(timing, record.started_s) for timing in record.stages]
        provenance = prediction_pb2.Provenance(trace_id=record.trace_id, stages=stages)
    return pb.RecentRequest(
        method=record.method,
        pipeline=record.pipeline,
        status=record.status,
        started_at_us=record.started_at_us,
        duration_us=record.duration_us,
        given_us=record.given_us,
        degradations=record.degradations,
        provenance=provenance,
    )
