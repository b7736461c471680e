"""FeatureService on the wire: a message in, `features.py`, a message out."""

from __future__ import annotations

from forebay.v1 import features_pb2 as pb

from feature_store.codec import ViewReader
from gateway.admission import Admission
from gateway.budget import Budget
from gateway.convert import columns_of, fill_column, key_columns, values_of
from gateway.features import MAX_ROWS, FeatureReads
from gateway.live import LiveRelease
from gateway.writes import FeatureWrites
from runtime.batcher import Criticality
from runtime.rpc.call import Call

_NO_BUDGET = Budget(None, {})


class FeatureServicer:
    """Answers ReadFeatures, WriteFeatures, ListViews and DescribeView."""

    def __init__(
        self, live: LiveRelease, reads: FeatureReads, writes: FeatureWrites, admission: Admission
    ) -> None:
        self._live = live
        self._reads = reads
        self._writes = writes
        self._admission = admission

    async def ReadFeatures(  # noqa: N802
        self, request: pb.ReadFeaturesRequest, call: Call
    ) -> pb.ReadFeaturesResponse:
        with self._admission.read(Criticality[call.criticality.upper()]):
            return await self._read(request, call)

    async def WriteFeatures(  # noqa: N802
        self, request: pb.WriteFeaturesRequest, call: Call
    ) -> pb.WriteFeaturesResponse:
        with self._admission.write(Criticality[call.criticality.upper()]):
            return await self._write(request, call)

    async def ListViews(self, request: pb.ListViewsRequest, call: Call) -> pb.ListViewsResponse:  # noqa: N802
        return pb.ListViewsResponse(views=[_view(reader) for reader in self._live.current.readers.values()])

    async def DescribeView(  # noqa: N802
        self, request: pb.DescribeViewRequest, call: Call
    ) -> pb.DescribeViewResponse:
        return pb.DescribeViewResponse(view=_view(self._live.current.reader(request.view)))

    async def _read(self, request: pb.ReadFeaturesRequest, call: Call) -> pb.ReadFeaturesResponse:
        readers = self._reads.views(self._live.current, request.features)
        key = next(iter(readers.values())).view.key
        keys = key_columns(request.keys, key, "keys", MAX_ROWS)
        deadline = _NO_BUDGET.deadline(call.deadline, call.started_s)
        read = await self._reads.read(readers, request.features, keys, deadline)
        response = pb.ReadFeaturesResponse()
        for part in read:
            times_us = part.block.event_times_us if request.event_times else None
            fill_column(
                response.columns.add(),
                part.name,
                part.column.values,
                part.scalar,
                part.column.statuses,
                times_us,
            )
        return response

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
        outcomes = await self._writes.write(
            reader, keys, given, statuses, event_times, _NO_BUDGET.deadline(call.deadline, call.started_s)
        )
        return pb.WriteFeaturesResponse(outcomes=outcomes.tobytes())


def _view(reader: ViewReader) -> pb.View:
    view = reader.view
    return pb.View(
        name=view.name,
        entity=view.entity,
        publish=view.publish,
        max_age_us=view.max_age_us or 0,
        as_of_us=reader.as_of_us or 0,
        generation=reader.generation or 0,
        features=[
            pb.ViewFeature(name=name, dtype=str(feature.dtype), has_default=feature.default is not None)
            for name, feature in reader.features.items()
        ],
        key=[pb.ViewFeature(name=field.name, dtype=str(field.dtype)) for field in view.key],
    )
