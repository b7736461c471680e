"""What a call says besides its request, and where it goes."""

from __future__ import annotations

import math
import time

import pytest
from forebay._addresses import addresses
from forebay._terms import LONGEST_TIMEOUT_S, Defaults
from forebay._trace import traceparent
from forebay.errors import DeadlineExceeded, InvalidRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, use_span

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def defaults(timeout_s: float = 1.0) -> Defaults:
    return Defaults(timeout_s, "shop", "default")


def test_a_calls_own_words_stand_in_place_of_the_clients() -> None:
    assert defaults().terms().metadata == (("forebay-caller", "shop"),)
    said = defaults().terms(caller="feed", criticality="critical", trace=TRACE).metadata
    assert dict(said) == {
        "forebay-caller": "feed",
        "forebay-criticality": "critical",
        "traceparent": TRACE,
    }
    assert defaults().terms(caller="").metadata == ()


def test_deadline_is_an_instant_from_when_the_call_was_made() -> None:
    terms = defaults(5.0).terms(timeout_s=0.5)
    assert 0 < terms.left_s(time.monotonic()) <= 0.5
    with pytest.raises(DeadlineExceeded):
        terms.left_s(time.monotonic() + 0.5)
    assert defaults(math.inf).terms().left_s(time.monotonic()) <= LONGEST_TIMEOUT_S


@pytest.mark.parametrize(
    ("field", "options"),
    [
        ("timeout_s", {"timeout_s": math.nan}),
        ("criticality", {"criticality": "urgent"}),
        ("caller", {"caller": "café"}),
        ("caller", {"caller": "a\nb"}),
        ("caller", {"caller": "x" * 129}),
        ("trace", {"trace": "00-0-0-01"}),
        ("trace", {"trace": f"00-{'0' * 32}-00f067aa0ba902b7-01"}),
        ("trace", {"trace": TRACE.upper()}),
    ],
)
def test_option_is_refused_when_it_can_not_be_sent(field: str, options: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        defaults().terms(**options)  # type: ignore[arg-type]
    assert caught.value.field == field


def test_trace_is_that_of_the_current_span_when_none_is_given() -> None:
    assert traceparent(None) == ""
    with TracerProvider().get_tracer("test").start_as_current_span("page") as span:
        context = span.get_span_context()
        expected = f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"
        assert traceparent(None) == expected
        assert traceparent(TRACE) == TRACE
    with use_span(NonRecordingSpan(SpanContext(7, 8, is_remote=True, trace_flags=TraceFlags(0)))):
        assert traceparent(None) == f"00-{7:032x}-{8:016x}-00"


def test_addresses_are_separated_by_commas_or_in_a_list() -> None:
    assert addresses("a:8500") == ("a:8500",)
    assert addresses("a:8500, b:8500") == ("a:8500", "b:8500")
    assert addresses(["a:8500", "b:8500"]) == ("a:8500", "b:8500")
    assert addresses("ipv4:10.0.0.1:8500,10.0.0.2:8500") == ("ipv4:10.0.0.1:8500,10.0.0.2:8500",)


@pytest.mark.parametrize("target", ["", "a:1,", [], ["a:1", "a:1"]])
def test_target_is_refused_when_an_address_is_missing_or_there_twice(target: str | list[str]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        addresses(target)
    assert caught.value.field == "target"
