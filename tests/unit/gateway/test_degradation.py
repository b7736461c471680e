"""Every cell of the tables in docs/degradation.md, played: the fault happens, the rule applies, the answer
says so, in time."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from forebay.errors import Error

from gateway.answer_wire import keep
from gateway.batch import Answer, Recalled
from gateway.precomputed.kept_bytes import StoredAnswer, packed
from gateway.precomputed.keys import AnswerKeys, KeyPart
from gateway.precomputed.plan import PrecomputedPlan
from registry.dtypes import DType
from registry.precomputed import PrecomputedPart
from runtime.admission_settings import AdmissionSettings
from runtime.clock import ManualClock, SystemClock
from runtime.rpc.status import code_of
from tests.support import manual_loop
from tests.support.degrading_application import DegradingApplication, degrading_application, told
from tests.support.source_files import ROOT

HOUR_S = 3600.0
BUSY_S = 3.0
"""What a busy machine may add where the clock is real."""
TOO_LONG_S = 30.0
"""What takes so long isn't waited for."""
TEXT = (ROOT / "docs" / "degradation.md").read_text()


@dataclass(frozen=True)
class Cell:
    """One cell of a table: a fault, the rule that is declared, what comes of it."""

    fault: str
    rule: str
    outcome: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.fault}, {self.rule}"


def cells(heading: str) -> list[Cell]:
    """Return the cells of the table under a heading."""
    section = TEXT.split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    head, *rows = [[part.strip() for part in line.strip("|").split("|")] for line in lines]
    rules = [rule.strip("`") for rule in head[1:]]
    return [
        Cell(fault, rule, tuple(re.findall("`([A-Z_]+)`", text)))
        for fault, *texts in rows[1:]
        for rule, text in zip(rules, texts, strict=True)
    ]


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models and the index, built once."""
    return tmp_path_factory.mktemp("degradation")


def clock_of(application: DegradingApplication) -> ManualClock:
    assert isinstance(application.clock, ManualClock)
    return application.clock


async def outcome_of(application: DegradingApplication, subject: str, **options: Any) -> tuple[str, ...]:
    """Return why and how a subject was done without, or a failed request's status; it may not be late."""
    began_s = application.clock.monotonic_s()
    try:
        answer: Answer | Recalled = await application.predict(**options)
    except Error as error:
        found: tuple[str, ...] = (code_of(error).name,)
    else:
        found = tuple(part for told_of in told(answer) if told_of[1] == subject for part in told_of[2:])
        assert isinstance(answer, Recalled) or answer.scores
    grace_s = 0.0 if isinstance(application.clock, ManualClock) else BUSY_S
    assert application.clock.monotonic_s() - began_s <= options.get("timeout_s", 1.0) + grace_s
    return found


# A view's rows


async def missing(application: DegradingApplication, view: str) -> None:
    await application.store.delete_many(await keys_of(application, view))


async def null(application: DegradingApplication, view: str) -> None:
    await application.write(view, range(1, 6))


async def too_old(application: DegradingApplication, view: str) -> None:
    clock_of(application).advance(2 * HOUR_S if view == "trend" else 20 * HOUR_S)


async def corrupt(application: DegradingApplication, view: str) -> None:
    keys = await keys_of(application, view)
    await application.store.load_many(keys, [b"\x01\x00garbage, and not a row"] * len(keys))


async def slow(application: DegradingApplication, view: str) -> None:
    application.store.slow_views = {application.release.reader(view).view.view_id}


async def slower_than_is_left(application: DegradingApplication, view: str) -> None:
    application.store.slow_views, application.store.delay_s = None, 0.0
    application.store.row_delay_s = 0.005 if view == "trend" else 0.03
    for _ in range(12):
        await application.predict("items" if view == "trend" else "rating", timeout_s=10.0)


async def gone(application: DegradingApplication, view: str) -> None:
    await slow(application, view)
    application.store.gone = True


async def gone_for_a_while(application: DegradingApplication, view: str) -> None:
    await gone(application, view)
    for _ in range(6):
        await outcome_of(application, "", pipeline="items" if view == "trend" else "rating")


async def keys_of(application: DegradingApplication, view: str) -> list[bytes]:
    return application.release.reader(view).row_keys([str(key) for key in range(1, 6)])


ROW_FAULTS: dict[str, Callable[[DegradingApplication, str], Awaitable[None]]] = {
    "the row is missing": missing,
    "a value is null": null,
    "the row is too old": too_old,
    "the row is corrupt": corrupt,
    "the store is slow": slow,
    "the store takes longer than is left": slower_than_is_left,
    "the store is gone": gone,
    "the store has been gone for a while": gone_for_a_while,
}


def rule_of(cell: Cell, view: str, **others: str) -> str:
    rules = others if cell.rule == "no rule" else others | {view: cell.rule}
    return "{" + ", ".join(f"{name}: {rule}" for name, rule in rules.items()) + "}"


@pytest.mark.parametrize("stage", ["hydrate", "hydrate_candidates"])
@pytest.mark.parametrize("cell", cells("A view's rows"), ids=str)
def test_rows_are_done_without_as_the_table_says(files: Path, cell: Cell, stage: str) -> None:
    view, pipeline = ("trend", "items") if stage == "hydrate_candidates" else ("taste", "rating")
    application = degrading_application(
        files,
        ManualClock(monotonic_s=0.0),
        degrade=f"{{hydrate_candidates: {rule_of(cell, 'trend', item='defaults')}}}",
        degrade_one=f"{{hydrate: {rule_of(cell, 'taste')}}}",
    )
    application.store.delay_s, application.store.slow_views = 5.0, set()

    async def program() -> None:
        await application.write_everything()
        await ROW_FAULTS[cell.fault](application, view)
        timeout_s = 0.02 if "than is left" in cell.fault else 1.0
        assert await outcome_of(application, view, pipeline=pipeline, timeout_s=timeout_s) == cell.outcome

    manual_loop.run(program(), clock_of(application))


# The search and the prediction: in threads, where they can be waited for in vain, so on the real clock


class SkippingClock(SystemClock):
    """The machine's clock, which a search or a run can put forward by what it would have taken."""

    def __init__(self) -> None:
        self._skipped_s = 0.0

    def monotonic_s(self) -> float:
        return super().monotonic_s() + self._skipped_s

    def skip(self) -> None:
        self._skipped_s += TOO_LONG_S


def on_threads(application: DegradingApplication) -> DegradingApplication:
    """Let searches and runs take place in threads."""
    application.inline_below_s = 0.0
    application.make_predictor()
    return application


def hold(application: DegradingApplication) -> Callable[[], None]:
    """Return what holds up a search or a run until the test ends."""

    def wait() -> None:
        assert application.ended.wait(TOO_LONG_S)

    return wait


@pytest.mark.parametrize("cell", cells("The search"), ids=str)
async def test_a_search_is_done_without_as_the_table_says(files: Path, cell: Cell) -> None:
    clock, is_slow = SkippingClock(), "is slow" in cell.fault
    application = on_threads(
        degrading_application(
            files,
            clock,
            budget="budget: {total: 20s, retrieve: 1s}" if is_slow else "",
            budget_one="",
            fallback=cell.rule == "candidates",
            watched_index=True,
        )
    )
    await application.write_everything()
    user_id = 7 if "no vector" in cell.fault else 1
    if is_slow:
        application.before_search = hold(application)
    elif "than is left" in cell.fault:
        application.before_search = clock.skip
        for _ in range(2):
            await application.predict(timeout_s=10 * TOO_LONG_S)
    timeout_s = 20.0 if is_slow else 1.0  # a busy machine leaves too little of a second for the later steps
    assert await outcome_of(application, "items", user_id=user_id, timeout_s=timeout_s) == cell.outcome
    await application.finish()


async def model_slow(application: DegradingApplication) -> None:
    application.runners["rating"].before = hold(application)


async def model_slower_than_is_left(application: DegradingApplication) -> None:
    assert isinstance(application.clock, SkippingClock)
    application.runners["rating"].before = application.clock.skip
    for _ in range(2):
        await application.predict("rating", user_id=2, timeout_s=10 * TOO_LONG_S)


async def model_fails(application: DegradingApplication) -> None:
    application.runners["rating"].broken = True


async def too_many(application: DegradingApplication) -> None:
    application.admission = AdmissionSettings(max_in_flight=1, adaptive=False)
    kept = application.predictor
    application.make_predictor(recall=kept.recall)
    runs = asyncio.Event()
    loop, wait = asyncio.get_running_loop(), hold(application)

    def run() -> None:
        loop.call_soon_threadsafe(runs.set)
        wait()

    application.runners["rating"].before = run
    application.others = asyncio.create_task(application.predict("rating", user_id=2, timeout_s=TOO_LONG_S))
    await runs.wait()


async def store_gone(application: DegradingApplication) -> None:
    application.store.gone = True


MODEL_FAULTS: dict[str, Callable[[DegradingApplication], Awaitable[None]]] = {
    "the model is slow": model_slow,
    "the model takes longer than is left": model_slower_than_is_left,
    "the model fails": model_fails,
    "too many requests are under way": too_many,
    "the store is gone and its view has no rule": store_gone,
}


@pytest.mark.parametrize("cell", cells("The prediction"), ids=str)
async def test_a_prediction_is_replaced_as_the_table_says(files: Path, cell: Cell) -> None:
    rule = "{}" if cell.rule == "no rule" else f"{{predict: [{cell.rule}]}}"
    is_slow = "is slow" in cell.fault
    budget = "budget: {total: 20s, predict: 1s}" if is_slow else ""
    application = on_threads(
        degrading_application(files, SkippingClock(), budget_one=budget, degrade_one=rule)
    )
    await application.write_everything()
    whole = await application.predict("rating", timeout_s=5.0)
    if cell.rule == "precomputed":
        assert isinstance(whole, Answer)
        await precompute(application, whole)
    await MODEL_FAULTS[cell.fault](application)
    timeout_s = 20.0 if is_slow else 1.0
    assert await outcome_of(application, "rater", pipeline="rating", timeout_s=timeout_s) == cell.outcome
    await application.finish()


async def precompute(application: DegradingApplication, answer: Answer) -> None:
    """Store an answer as one that was made beforehand for its user."""
    key = KeyPart(PrecomputedPart("user_id"), DType.parse("int64"))
    keys = AnswerKeys("degrading", "rating", 1, [key])
    stored = StoredAnswer(keep(answer, application.clock.now_us()), 1)
    await application.store.load_many(keys.of(["1"]), [packed(stored)])
    plan = PrecomputedPlan(is_first=False, keys=keys, top=0, features=(), max_age_us=2 * 3_600_000_000)
    pipelines = dict(application.release.pipelines)
    pipelines["rating"] = replace(pipelines["rating"], precomputed=plan)
    application.release = replace(application.release, pipelines=pipelines)


def reasons(heading: str) -> Iterator[str]:
    for cell in cells(heading):
        yield from cell.outcome


def test_the_tables_show_every_reason_and_action_of_the_contract() -> None:
    shown = {
        word for heading in ("A view's rows", "The search", "The prediction") for word in reasons(heading)
    }
    declared = "NOT_FOUND STALE TIMEOUT NO_TIME UNAVAILABLE CORRUPT OVERLOADED ERROR "
    declared += "DEFAULTS STALE_ROW FALLBACK PRECOMPUTED STALE_ANSWER FEATURE_SCORE"
    assert set(declared.split()) <= shown
