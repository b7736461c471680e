"""Who is taken on, and what an end of a request tells the limiter; on a clock that stands still."""

import asyncio

import pytest
from forebay.errors import DeadlineExceeded, NotUsable, Overloaded, Unavailable

from gateway.admission import Admission
from gateway.batch import Member
from runtime.admission_settings import AdmissionSettings, CallerQuota
from runtime.batcher import Criticality
from tests.support.compiled_application import CompiledApplication
from tests.support.recalling import Counter

CRITICAL, DEFAULT, SHEDDABLE = Criticality


def member(
    application: CompiledApplication, pipeline: str = "defaults", criticality: Criticality = DEFAULT
) -> Member:
    return Counter(application).member(pipeline, criticality=criticality)


def test_a_request_is_refused_when_as_many_are_under_way(application: CompiledApplication) -> None:
    admission = Admission(AdmissionSettings(max_in_flight=2), application.clock)
    with admission.admit(member(application)), admission.admit(member(application)):
        with pytest.raises(Overloaded, match="pipeline defaults has 2 under way") as refused:
            admission.admit(member(application))
        assert refused.value.retry_after_s is not None
        assert refused.value.retry_after_s > 0
    with admission.admit(member(application)):
        assert admission.stats.pipelines["defaults"].in_flight == 1


def test_the_critical_are_taken_on_when_others_are_not(application: CompiledApplication) -> None:
    admission = Admission(AdmissionSettings(max_in_flight=1), application.clock)
    sheddable, critical = (member(application, criticality=each) for each in (SHEDDABLE, CRITICAL))
    with admission.admit(sheddable), admission.admit(critical), pytest.raises(Overloaded):
        admission.admit(member(application, criticality=DEFAULT))


@pytest.mark.parametrize(
    ("error", "counted"),
    [
        (None, "answered"),
        (NotUsable("no such model"), "answered"),
        (DeadlineExceeded("the deadline passed"), "missed"),
        (Overloaded("gave way"), "gone"),
        (Unavailable("the store is gone"), "gone"),
        (asyncio.CancelledError(), "gone"),
    ],
)
def test_an_end_is_counted_for_what_it_says_of_load(
    application: CompiledApplication, error: BaseException | None, counted: str
) -> None:
    admission = Admission(AdmissionSettings(), application.clock)
    try:
        with admission.admit(member(application)):
            application.clock.advance(0.06)
            if error is not None:
                raise error
    except BaseException as raised:
        if raised is not error:
            raise
    counts = admission.stats.pipelines["defaults"].counts
    assert {name: getattr(counts, name) for name in ("answered", "missed", "gone")} == {
        **dict.fromkeys(("answered", "missed", "gone"), 0),
        counted: 1,
    }


@pytest.mark.parametrize("error", [None, asyncio.CancelledError()])
def test_an_end_after_the_deadline_is_a_miss(
    application: CompiledApplication, error: BaseException | None
) -> None:
    admission = Admission(AdmissionSettings(), application.clock)
    try:
        with admission.admit(member(application)):
            application.clock.advance(0.2)
            if error is not None:
                raise error
    except asyncio.CancelledError:
        pass
    assert admission.stats.pipelines["defaults"].counts.missed == 1


def test_reads_writes_and_searches_are_bounded_apart(application: CompiledApplication) -> None:
    settings = AdmissionSettings(max_reads=1, max_writes=1, max_searches=1)
    admission = Admission(settings, application.clock)
    with admission.read(DEFAULT), admission.write(DEFAULT), admission.search(DEFAULT):
        for enter, kind in (
            (admission.read, "reads"),
            (admission.write, "writes"),
            (admission.search, "searches"),
        ):
            with pytest.raises(Overloaded, match=f"1 {kind} are under way"):
                enter(CRITICAL)
        assert admission.stats.calls_in_flight == {"reads": 1, "writes": 1, "searches": 1}
    assert admission.stats.calls_in_flight == {"reads": 0, "writes": 0, "searches": 0}


def test_a_caller_is_told_its_quota_and_when_to_come_back(application: CompiledApplication) -> None:
    settings = AdmissionSettings(callers={"nightly": CallerQuota(rate_per_s=2, burst=1)})
    admission = Admission(settings, application.clock)
    admission.charge("nightly")
    admission.charge("web")
    with pytest.raises(Overloaded, match="caller 'nightly' may make 2 calls a second, 1 at once") as refused:
        admission.charge("nightly")
    assert refused.value.metadata["limit"] == "caller"
    assert 0.5 <= (refused.value.retry_after_s or 0) <= 1.3
    assert admission.stats.quotas.refused == 1


def test_nobody_is_charged_where_there_are_no_quotas(application: CompiledApplication) -> None:
    assert not Admission(AdmissionSettings(), application.clock).charges
    assert Admission(AdmissionSettings(caller_rate_per_s=1.0), application.clock).charges
