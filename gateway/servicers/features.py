"""FeatureService on the wire: a message in, `features.py`, `writes.py`, `deletions.py` or `catalog.py`, a
message out."""

from __future__ import annotations

from forebay.v1 import features_pb2 as pb

from feature_store.encoder import EVENT_TIME, ROW, Fault
from feature_store.schema import Feature
from gateway.admission import Admission
from gateway.budget import Budget
from gateway.catalog import ViewCatalog, ViewState
from gateway.convert import columns_of, fill_value, key_columns, values_of
from gateway.deletions import EntityDeletions
from gateway.features import MAX_ROWS, FeatureReads
from gateway.live import LiveRelease
from gateway.read_form import ReadWriter
from gateway.writes import FeatureWrites
from runtime.batcher import Criticality
from runtime.rpc.call import Call

_NO_BUDGET = Budget(None, {})


class FeatureServicer:
    """Answers ReadFeatures, WriteFeatures, DeleteEntities, ListViews and DescribeView."""

    def __init__(
        self,
        live: LiveRelease,
        reads: FeatureReads,
        writes: FeatureWrites,
        deletions: EntityDeletions,
        catalog: ViewCatalog,
        admission: Admission,
    ) -> None:
        self._live = live
        self._reads = reads
        self._writes = writes
        self._deletions = deletions
        self._catalog = catalog
        self._admission = admission
        self._writer = ReadWriter()

    async def ReadFeatures(self, request: pb.ReadFeaturesRequest, call: Call) -> bytes:  # noqa: N802
        with self._admission.read(Criticality[call.criticality.upper()]):
            return await self._read(request, call)

    async def WriteFeatures(  # noqa: N802
        self, request: pb.WriteFeaturesRequest, call: Call
    ) -> pb.WriteFeaturesResponse:
        with self._admission.write(Criticality[call.criticality.upper()]):
            return await self._write(request, call)

    async def DeleteEntities(  # noqa: N802
        self, request: pb.DeleteEntitiesRequest, call: Call
    ) -> pb.DeleteEntitiesResponse:
        with self._admission.write(Criticality[call.criticality.upper()]):
            release = self._live.current
            keys = key_columns(request.keys, release.entity_key(request.entity), "keys", MAX_ROWS)
            deadline = _NO_BUDGET.deadline(call.deadline, call.started_s)
            outcomes = await self._deletions.delete(release, request.entity, keys, deadline)
            return pb.DeleteEntitiesResponse(outcomes=outcomes.tobytes())

    async def ListViews(self, request: pb.ListViewsRequest, call: Call) -> pb.ListViewsResponse:  # noqa: N802
        release = self._live.current
        states = await self._catalog.describe(release, release.readers)
        return pb.ListViewsResponse(views=map(_view, states))

    async def DescribeView(  # noqa: N802
        self, request: pb.DescribeViewRequest, call: Call
    ) -> pb.DescribeViewResponse:
        [state] = await self._catalog.describe(self._live.current, [request.view])
        return pb.DescribeViewResponse(view=_view(state))

    async def _read(self, request: pb.ReadFeaturesRequest, call: Call) -> bytes:
        plan = self._reads.plan(self._live.current, request.features)
        keys = key_columns(request.keys, plan.key, "keys", MAX_ROWS)
        blocks = await self._reads.read(plan, keys, _NO_BUDGET.deadline(call.deadline, call.started_s))
        return self._writer.bytes(plan, blocks, request.event_times)

    async def _write(self, request: pb.WriteFeaturesRequest, call: Call) -> pb.WriteFeaturesResponse:
        reader = self._live.current.reader(request.view)
        keys = key_columns(request.keys, reader.view.key, "keys", MAX_ROWS)
        given = columns_of(request.features, "features")
        statuses = {part.name: part.statuses for part in request.features if part.statuses}
        event_times = (
            values_of(request.event_times_us, "event_times_us")
            if request.HasField("event_times_us")
            else None
        )
        written = await self._writes.write(
            reader, keys, given, statuses, event_times, _NO_BUDGET.deadline(call.deadline, call.started_s)
        )
        response = pb.WriteFeaturesResponse(outcomes=written.outcomes.tobytes())
        for fault in written.faults:
            response.problems.add(field=_place(fault), row_count=fault.row_count, rule=fault.rule)
        return response


def _place(fault: Fault) -> str:
    """Return what of the request is at fault."""
    if fault.name == EVENT_TIME:
        return "event_times_us"
    return "features" if fault.name == ROW else f"features.{fault.name}"


def _view(state: ViewState) -> pb.View:
    reader, view = state.reader, state.reader.view
    message = pb.View(
        name=view.name,
        entity=view.entity,
        publish=view.publish if view.ring is None else "stream",
        max_age_us=view.max_age_us or 0,
        as_of_us=reader.as_of_us or 0,
        generation=reader.generation or 0,
        features=map(_feature, reader.features.values()),
        key=[pb.ViewFeature(name=field.name, dtype=str(field.dtype)) for field in view.key],
        view_id=view.view_id,
        entity_id=view.entity_id,
        batch=state.batch,
        row_count=state.row_count,
        age_us=state.age_us,
    )
    if state.stale is not None:
        message.stale = state.stale
    return message


def _feature(feature: Feature) -> pb.ViewFeature:
    message = pb.ViewFeature(name=feature.name, dtype=str(feature.dtype))
    if feature.default is not None:
        message.has_default = True
        fill_value(message.default_value, feature.default, feature.dtype)
    return message
