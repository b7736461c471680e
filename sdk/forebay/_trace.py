"""The trace that a call belongs to, as W3C Trace Context has it."""

from __future__ import annotations

import re
import sys
from typing import Any

from forebay.errors import InvalidRequest

TRACEPARENT = "traceparent"

_FORM = re.compile(r"[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def traceparent(given: str | None) -> str:
    """Return the caller's `traceparent`, else that of OpenTelemetry's current span; empty without either.

    Raises: InvalidRequest where the one given doesn't have the form.
    """
    if given:
        if not _FORM.fullmatch(given):
            raise InvalidRequest("trace: not of the form 00-TRACE_ID-SPAN_ID-FLAGS", field="trace")
        return given
    # Who has a span has loaded OpenTelemetry.
    trace = sys.modules.get("opentelemetry.trace")
    return "" if trace is None else _of_span(trace.get_current_span().get_span_context())


def _of_span(context: Any) -> str:
    if not context.is_valid:
        return ""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"
