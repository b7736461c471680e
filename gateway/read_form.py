"""Responses to ReadFeatures, written into messages that are kept for it: to make sixty columns anew costs
several times as much as to fill those that are there. One thread at a time."""

from __future__ import annotations

from collections.abc import Mapping

from forebay.v1 import features_pb2 as pb
from forebay.v1 import values_pb2

from feature_store.codec import RowBlock
from gateway.convert import fill_column, refill_tensor, statuses_bytes
from gateway.features import ReadPlan

_MOST_FORMS = 64
_LARGEST_BYTES = 1 << 20
"""Of a response whose message is kept with all that it holds."""

Blocks = Mapping[str, RowBlock]


class ReadWriter:
    """Writes the responses to reads, one after another."""

    def __init__(self) -> None:
        self._forms: dict[ReadPlan, _Form] = {}

    def bytes(self, plan: ReadPlan, blocks: Blocks, event_times: bool) -> bytes:
        """Return a serialised ReadFeaturesResponse: the plan's columns, with event times where asked for."""
        if event_times:
            return _with_event_times(plan, blocks)
        form = self._forms.pop(plan, None)
        if form is None:
            form = _Form(plan, blocks)
        response = form.bytes(blocks)
        if len(response) <= _LARGEST_BYTES:
            if len(self._forms) >= _MOST_FORMS:
                self._forms.clear()
            self._forms[plan] = form
        return response


class _Form:
    """The response to one plan's reads."""

    __slots__ = ("_columns", "_response", "_wanted")

    def __init__(self, plan: ReadPlan, blocks: Blocks) -> None:
        self._wanted = plan.wanted
        self._response = pb.ReadFeaturesResponse()
        self._columns: list[tuple[values_pb2.Column, values_pb2.Tensor]] = []
        for wanted in plan.wanted:
            message = self._response.columns.add()
            fill_column(
                message, wanted.reference, blocks[wanted.view].column(wanted.feature).values, wanted.scalar
            )
            self._columns.append((message, message.values))

    def bytes(self, blocks: Blocks) -> bytes:
        shared, raw = None, b""
        for (message, tensor), wanted in zip(self._columns, self._wanted, strict=True):
            values, statuses = blocks[wanted.view].column(wanted.feature)
            refill_tensor(tensor, values, wanted.scalar)
            if statuses is not shared:  # columns of one view mostly share theirs
                shared, raw = statuses, statuses_bytes(statuses)
            message.statuses = raw
        return self._response.SerializeToString()


def _with_event_times(plan: ReadPlan, blocks: Blocks) -> bytes:
    response = pb.ReadFeaturesResponse()
    for wanted in plan.wanted:
        block = blocks[wanted.view]
        values, statuses = block.column(wanted.feature)
        fill_column(
            response.columns.add(), wanted.reference, values, wanted.scalar, statuses, block.event_times_us
        )
    return response.SerializeToString()
