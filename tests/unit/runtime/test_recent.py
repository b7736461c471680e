"""The ring of recent requests."""

from __future__ import annotations

from forebay.v1.prediction_pb2 import Provenance

from runtime.recent import OTHER_METHODS, RecentRequests, RecordedParts, RequestRecord


def record(number: int, *, trace_id: str = "", prediction_id: str = "") -> RequestRecord:
    answer = RecordedParts(Provenance(prediction_id=prediction_id)) if prediction_id else None
    return RequestRecord("m", "p", "OK", number, 1, 0, (), answer, trace_id, 0.0)


def test_oldest_give_way_when_the_ring_is_full() -> None:
    recent = RecentRequests(3)
    for number in range(5):
        recent.append(record(number))
    assert [entry.started_at_us for entry in recent.latest(10)] == [4, 3, 2]
    assert [entry.started_at_us for entry in recent.latest(1)] == [4]


def test_only_that_request_is_returned_when_an_id_is_given() -> None:
    recent = RecentRequests(8)
    for entry in (record(1, trace_id="a"), record(2, prediction_id="b"), record(3)):
        recent.append(entry)
    assert [entry.started_at_us for entry in recent.latest(10, "a")] == [1]
    assert [entry.started_at_us for entry in recent.latest(10, "b")] == [2]
    assert recent.latest(10, "c") == []


def ended(method: str, status: str, duration_us: int, given_us: int) -> RequestRecord:
    return RequestRecord(method, "p", status, 0, duration_us, given_us, (), None, "", 0.0)


def test_an_answer_counts_as_late_when_it_is_handed_over_after_its_deadline() -> None:
    recent = RecentRequests(1)
    for status, duration_us, given_us in (
        ("OK", 10, 10),
        ("OK", 11, 10),
        ("OK", 99, 0),  # without a deadline
        ("DEADLINE_EXCEEDED", 11, 10),  # no answer, so none that is late
    ):
        recent.append(ended("Predict", status, duration_us, given_us))
    counts = recent.counts["Predict"]
    assert counts.by_status == {"OK": 3, "DEADLINE_EXCEEDED": 1}
    assert counts.late == 1


def test_counts_stay_few_when_callers_make_methods_up() -> None:
    recent = RecentRequests(1)
    for number in range(1000):
        recent.append(ended(f"m{number}", "UNIMPLEMENTED", 1, 0))
    assert len(recent.counts) == 65
    assert recent.counts[OTHER_METHODS].by_status == {"UNIMPLEMENTED": 936}
