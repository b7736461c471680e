"""The rows that are judged from the overload (`overload.py`): goodput, lateness, who is served, recovery."""

from __future__ import annotations

import statistics
from typing import Any

from benchmarks.admin import Ended
from benchmarks.bench import Bench, MeasurementFailed
from benchmarks.overload import BUDGET_S, Overload, Overloaded
from benchmarks.pairs import Figure, Pair, Sample, ratio_figure

FACTORS = (2.0, 5.0, 10.0)
_UNBATCHED = {"FOREBAY_GATEWAY__BATCH_MEMBERS": "1"}


def goodput(bench: Bench, factor: float) -> Figure:
    """What is answered in time at `factor` times the peak, over the peak: the median of its windows."""
    found = _at(bench, factor)
    pairs = [
        Pair(Sample(found.peak_per_s), Sample(window["goodput_per_s"], window)) for window in found.windows
    ]
    return ratio_figure(pairs, "/s", _facts(found) | {"ramp": bench.once(_overload).peak.ramp})


def late_ratio(bench: Bench) -> Figure:
    """The share of answers that the server handed over after their deadline, at the worst of the factors."""
    shares = {factor: _late(_at(bench, factor)) for factor in FACTORS}
    worst = max(shares.values())
    return Figure(worst, "share", worst, facts={"by_factor": shares})


def admitted_p99(bench: Bench) -> Figure:
    """The p99 of the answers, the late ones too, over the budget, at the worst of the factors: of each the
    median of its windows."""
    by_factor = {factor: [window["p99_us"] for window in _at(bench, factor).windows] for factor in FACTORS}
    if any(None in p99_us for p99_us in by_factor.values()):
        raise MeasurementFailed("nobody was answered for a whole window")
    worst_us = max(statistics.median(p99_us) for p99_us in by_factor.values())
    facts = {"p99_us_of_windows": by_factor}
    return Figure(worst_us / (BUDGET_S * 1e6), "us", worst_us, BUDGET_S * 1e6, facts=facts)


def critical_served(bench: Bench) -> Figure:
    """The share of critical calls that were answered in time at twice the peak."""
    found = _at(bench, 2.0)
    share = found.served("critical")
    return Figure(share, "share", share, facts=_facts(found))


def recovery(bench: Bench) -> Figure:
    """The seconds after overload until 95% of the calls of a second are answered in time again, at worst."""
    seconds = {factor: _at(bench, factor).recovery_s for factor in FACTORS}
    known = [each for each in seconds.values() if each is not None]
    if len(known) < len(seconds):
        raise MeasurementFailed(f"not recovered within the time that was watched: {seconds}")
    return Figure(max(known), "s", max(known), facts={"by_factor": seconds})


def _overload(bench: Bench) -> Overload:
    return Overload(bench, bench.stay(bench.serving(settings=_UNBATCHED)))


def _at(bench: Bench, factor: float) -> Overloaded:
    found = bench.once(_overload).at(factor)
    found.check_sent()
    return found


def _admitted_failed(server: Ended) -> float:
    """Return the share of calls, of those not refused at once, that ended without an answer."""
    admitted = sum(server.by_status.values()) - server.by_status.get("RESOURCE_EXHAUSTED", 0)
    return 1.0 - server.answered / max(admitted, 1)


def _late(found: Overloaded) -> float:
    if not found.server.answered:
        raise MeasurementFailed("the server answered nothing")
    return found.server.late / found.server.answered


def _facts(found: Overloaded) -> dict[str, Any]:
    return {
        "factor": found.factor,
        "peaks_per_s": found.peaks_per_s,
        "offered_per_s": statistics.mean(window["offered_per_s"] for window in found.windows),
        "goodput_per_s": sum(window["goodput_per_s"] for window in found.windows) / len(found.windows),
        "worst_window_ratio": min(w["goodput_per_s"] for w in found.windows) / found.peak_per_s,
        "p99_us": statistics.median(window["p99_us"] or float("nan") for window in found.windows),
        "served": {lane: found.served(lane) for lane in ("critical", "default", "sheddable")},
        "recovery_s": found.recovery_s,
        "server_by_status": found.server.by_status,
        "late": found.server.late,
        "admitted_failed_ratio": _admitted_failed(found.server),
        "client_cpu_ratio": found.report["client_cpu_ratio"],
        "watched_cpu_ratio": found.report["watched_cpu_ratio"],
        "timeline": found.report["timeline"],
    }
