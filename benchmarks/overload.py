"""Overload: the slow model, batching off, an open loop. The peak is found by a ramp; then the gateway is
offered multiples of it for half a minute each, with the peak measured again after each. The rows that are
judged from this (`overload_rows.py`) share the measurements.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.admin import Ended, ended
from benchmarks.arrivals import Phase, recovery_s
from benchmarks.bench import Bench, Load, MeasurementFailed, Target
from benchmarks.load import write_requests
from benchmarks.predict_rows import PREDICT, predict_messages
from benchmarks.processes import CommandFailed
from benchmarks.workload import SLOW_BUDGET_MS, SLOW_PIPELINE

BUDGET_S = SLOW_BUDGET_MS / 1000
LANES = ("critical", "default", "sheddable")
_SHARES = (1, 8, 1)
_RAMP = (0.5, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.35)
_RAMP_S = 3.0
_CALM = 0.7
_CALM_S = 5.0
_SENT_AT_LEAST = 0.95
_SERVED_AGAIN = 0.95
_WINDOWS = 6
"""Overload is judged in so many parts, each against the peak."""


@dataclass(frozen=True, slots=True)
class Peak:
    """The most that was answered in time per second, at which offered rate; and every step of the ramp."""

    goodput_per_s: float
    offered_per_s: float
    ramp: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Overloaded:
    """What came of one multiple of the peak.

    `windows` are the overload's parts in order, `peaks_per_s` the peak's goodput before and after it.
    `server` is the gateway's own account of the whole load, the calm after it included.
    """

    factor: float
    windows: Sequence[Mapping[str, Any]]
    peaks_per_s: tuple[float, float]
    recovery_s: float | None
    server: Ended
    report: Mapping[str, Any]

    @property
    def peak_per_s(self) -> float:
        """The peak that this is compared with: the mean of before and after."""
        return statistics.mean(self.peaks_per_s)

    def served(self, lane: str) -> float:
        """Return the share of a lane's calls that were answered in time."""
        counts = [window["lanes"][lane] for window in self.windows]
        share: float = sum(each["good"] for each in counts) / sum(each["offered"] for each in counts)
        return share

    def check_sent(self) -> None:
        """Raise MeasurementFailed where less was put on the wire than was to be."""
        offered = sum(window["offered"] for window in self.windows)
        sent = sum(window["sent"] for window in self.windows)
        if sent < _SENT_AT_LEAST * offered:
            raise MeasurementFailed(
                f"{sent} of {offered} calls were sent when due: the machine can't offer {self.factor:g}x"
            )


class Overload:
    """The measurements, each made when first asked for."""

    def __init__(self, bench: Bench, target: Target) -> None:
        self._bench = bench
        self._target = target
        self._load: Load | None = None
        self._peak: Peak | None = None
        self._found: dict[float, Overloaded | Exception] = {}

    @property
    def peak(self) -> Peak:
        """The peak, found by a ramp around what one caller gets who asks again at once."""
        if self._peak is None:
            load = self._requests()
            self._bench.say("how much it can do")
            rate_per_s = self._bench.load(self._target, load, 1, may_fail=True)["rate_per_s"]
            ramp = []
            for step in _RAMP:
                self._bench.say(f"ramp, {step:.0%} of {rate_per_s:.0f}/s")
                ramp.append(self._offer([Phase(_RAMP_S, step * rate_per_s)])["phases"][0])
            best = max(ramp, key=lambda phase: phase["goodput_per_s"])
            self._peak = Peak(best["goodput_per_s"], best["offered_per_s"], ramp)
        return self._peak

    def at(self, factor: float) -> Overloaded:
        """Return what came of `factor` times the peak. Cost: a minute, the first time.

        Raises: MeasurementFailed, CommandFailed; the same each time.
        """
        if factor not in self._found:
            try:
                self._found[factor] = self._measured(factor)
            except (MeasurementFailed, CommandFailed) as error:
                self._found[factor] = error
        found = self._found[factor]
        if isinstance(found, Exception):
            raise found
        return found

    def _measured(self, factor: float) -> Overloaded:
        peak, seconds = self.peak, self._bench.options.overload_s
        before_per_s = self._peak_again()
        self._bench.say(f"{factor:g} times {peak.goodput_per_s:.0f}/s for {seconds:g} s")
        calm = Phase(_CALM_S, _CALM * peak.goodput_per_s)
        overload = [Phase(seconds / _WINDOWS, factor * peak.goodput_per_s)] * _WINDOWS
        account = ended(self._target.admin, PREDICT.removeprefix("/"))
        report = self._offer([*overload, calm])
        account = ended(self._target.admin, PREDICT.removeprefix("/")).since(account)
        return Overloaded(
            factor,
            report["phases"][:_WINDOWS],
            (before_per_s, self._peak_again()),
            recovery_s(report["timeline"], seconds, _SERVED_AGAIN, "good"),
            account,
            report,
        )

    def _peak_again(self) -> float:
        again = self._offer([Phase(_RAMP_S, self.peak.offered_per_s)])
        goodput_per_s: float = again["phases"][0]["goodput_per_s"]
        return goodput_per_s

    def _offer(self, phases: Sequence[Phase]) -> dict[str, Any]:
        lanes = [f"{lane}:{share}" for lane, share in zip(LANES, _SHARES, strict=True)]
        words = [word for lane in lanes for word in ("--lane", lane)]
        return self._bench.open_load(self._target, self._requests(), phases, BUDGET_S, *words)

    def _requests(self) -> Load:
        if self._load is None:
            messages = predict_messages(SLOW_PIPELINE, self._bench.workload.keys.tolist())
            file = self._bench.work / "predict-slow.requests"
            write_requests(file, messages)
            self._load = Load(PREDICT, file)
        return self._load
