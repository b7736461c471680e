"""The store stopped for five seconds under load: a pipeline that may do without it answers all along."""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import dataclass
from typing import Any

from benchmarks.arrivals import STEP_S, Phase, recovery_s
from benchmarks.bench import Bench, MeasurementFailed
from benchmarks.pairs import Figure
from benchmarks.predict_rows import predict_load
from benchmarks.workload import PATIENT_PIPELINE

_BEFORE_S = 4.0
_PAUSE_S = 5.0
_AFTER_S = 6.0
_TIMEOUT_S = 0.25
"""What callers allow; the pipeline's budget of 0.1 s is what it has to keep."""
_LOAD = 0.4
_FULL_QUALITY = 0.999
_STEPS_A_LINE = 5
_TOO_LATE = ("late", "expired", "unsent")


@dataclass(frozen=True, slots=True)
class Paused:
    """What the load saw. Units: seconds since its start for `from_s` and `until_s`."""

    from_s: float
    until_s: float
    report: dict[str, Any]

    @property
    def counts(self) -> dict[str, int]:
        """Calls by what became of them."""
        (phase,) = self.report["phases"]
        return {name: phase[name] for name in ("offered", "good", "degraded", "refused", *_TOO_LATE)}


def late_share(bench: Bench) -> Figure:
    """The share of calls that had no answer in time."""
    found = bench.once(_paused)
    late = sum(found.counts[name] for name in _TOO_LATE)
    return Figure(late / found.counts["offered"], "calls", late, facts=_facts(found))


def error_count(bench: Bench) -> Figure:
    """The calls that ended with an error."""
    found = bench.once(_paused)
    return Figure(found.counts["refused"], "calls", found.counts["refused"], facts=_facts(found))


def recovery(bench: Bench) -> Figure:
    """The seconds after the store's return until all answers of a second are whole again."""
    found = bench.once(_paused)
    seconds = recovery_s(found.report["timeline"], found.until_s - STEP_S, _FULL_QUALITY, "good")
    if seconds is None:
        raise MeasurementFailed(f"answers are not whole again within {_AFTER_S:g} s: {found.counts}")
    return Figure(max(0.0, seconds), "s", max(0.0, seconds), facts=_facts(found))


def _paused(bench: Bench) -> Paused:
    load = predict_load(bench, bench.gateway, PATIENT_PIPELINE, bench.workload.neighbours)
    rate_per_s = _LOAD * bench.load(bench.gateway, load, 8)["rate_per_s"]
    bench.say(f"the store stops for {_PAUSE_S:g} s under {rate_per_s:.0f}/s")
    pause = _Pause(bench.prepared.store.pid)
    pause.start()
    try:
        phases = [Phase(_BEFORE_S + _PAUSE_S + _AFTER_S, rate_per_s)]
        report = bench.open_load(bench.gateway, load, phases, _TIMEOUT_S, "--inspect")
    finally:
        pause.join()
    began_at_s = report["began_at_s"]
    found = Paused(pause.from_s - began_at_s, pause.until_s - began_at_s, report)
    (bench.work.parent / "redis_pause.txt").write_text(transcript(found))
    if found.counts["good"] == found.counts["offered"]:
        raise MeasurementFailed(f"the pause left no trace: {found.counts}")
    return found


def transcript(found: Paused) -> str:
    """Return what callers saw, half a second a line."""
    kinds = ("offered", "good", "degraded", "refused", *_TOO_LATE)
    lines = [" ".join(f"{name:>9}" for name in ("second", *kinds))]
    timeline = found.report["timeline"]
    for first in range(0, len(timeline), _STEPS_A_LINE):
        steps = timeline[first : first + _STEPS_A_LINE]
        start_s, end_s = steps[0]["start_s"], steps[-1]["start_s"] + STEP_S
        counts = [sum(step[kind] for step in steps) for kind in kinds]
        note = "".join(
            f"  <- {what} at {at_s:.2f} s"
            for what, at_s in (("the store stops", found.from_s), ("it goes on", found.until_s))
            if start_s <= at_s < end_s
        )
        lines.append(" ".join([f"{start_s:9.1f}", *[f"{count:9d}" for count in counts]]) + note)
    return "\n".join([*lines, ""])


class _Pause(threading.Thread):
    """Stops a process after a while, and lets it go on; notes when by the wall clock."""

    def __init__(self, pid: int) -> None:
        super().__init__(name="pause", daemon=True)
        self._pid = pid
        self.from_s = self.until_s = 0.0

    def run(self) -> None:
        time.sleep(_BEFORE_S)
        os.kill(self._pid, signal.SIGSTOP)
        self.from_s = time.time()
        try:
            time.sleep(_PAUSE_S)
        finally:
            os.kill(self._pid, signal.SIGCONT)
            self.until_s = time.time()


def _facts(found: Paused) -> dict[str, Any]:
    return {
        "paused_from_s": found.from_s,
        "paused_until_s": found.until_s,
        "counts": found.counts,
        "timeline": found.report["timeline"],
    }
