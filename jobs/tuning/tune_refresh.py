"""`forebay tune refresh`: lengthens a view's refresh interval, step by step, while a replayed model stays as
good as it has to be, and steps back to the last that was. Labels are joined as under each schedule
(`../training`), scored by the live model (`replay.py`), and measured (`metrics.py`). Nothing is changed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from forebay.errors import InvalidRequest, NotFound, NotUsable

from jobs.in_thread import in_thread
from jobs.progress import Progress
from jobs.sources import DEFAULT_MEMORY_BYTES
from jobs.training.joining import Joining
from jobs.training.training_set import model_inputs
from jobs.training.wanted import Asked, Join, Wanted, wanted
from jobs.tuning.metrics import Auc, Bootstrap, Floats, Interval, Metric, Ndcg, Rmse
from jobs.tuning.options import METRICS, TuneOptions, check_intervals
from jobs.tuning.replay import Replay, Scores, load_model, numbered, outcomes
from registry.plan import Plan
from registry.registry import Registry
from registry.release import Release
from runtime.clock import Clock
from runtime.engine_settings import OnnxSettings

_DAY_US = 86_400_000_000


@dataclass(frozen=True, slots=True)
class Step:
    """One schedule that was tried. `every_us` None: refreshed all the time. `metric` as measured; `margin` by
    how much it is better than it has to be, negative where it is worse; `unanswered` labels that it leaves
    without an answer. It is good enough where the margin's lower bound isn't negative."""

    every_us: int | None
    metric: Interval
    margin: Interval
    found: int
    unanswered: int

    @property
    def is_good_enough(self) -> bool:
        return self.margin.low >= 0

    @property
    def refreshes_per_day(self) -> float | None:
        """How often the view is refreshed in a day; None for all the time."""
        return None if self.every_us is None else _DAY_US / self.every_us


@dataclass(frozen=True, slots=True)
class Tuned:
    """The schedules that were tried, the freshest first, and the interval of the cheapest that is good
    enough; None where none is. `model` and `version` were replayed, over `labels` from `oldest_us` on."""

    view: str
    pipeline: str
    model: str
    version: str
    labels: int
    compared: int
    steps: tuple[Step, ...]
    chosen_us: int | None
    remarks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TuneRefresh:
    """Tunes refreshes of one application; what it needs of the world."""

    registry: Registry
    clock: Clock
    progress: Progress
    onnx: OnnxSettings
    engine_memory_bytes: int = DEFAULT_MEMORY_BYTES

    async def run(self, options: TuneOptions) -> Tuned:
        """Return which intervals were tried and which is chosen. Nothing is written.

        Raises: NotFound for an unknown view, pipeline or score; InvalidRequest for a view that no interval
        can be tried of, for labels that are wrong, and for outcomes that the metric can't take; NotUsable
        where nothing is applied or the model can't run.
        Cost: a join of the view and a run of the model over all labels per step, and `draws` passes over the
        scores. Memory for a few numbers per label.
        """
        release = await self.registry.live()
        if release is None:
            raise NotUsable(f"no application {self.registry.app} is applied: run `forebay apply FILE` first")
        plan = await self.registry.plan(release.plan)
        return await in_thread(self._tuned, plan, release, options)

    def _tuned(self, plan: Plan, release: Release, options: TuneOptions) -> Tuned:
        chosen = _checked(plan, options)
        runner, output = load_model(plan, release, options.pipeline, options.score, self.onnx)
        inputs = model_inputs(plan, chosen)
        with Joining(
            plan, chosen, options.labels, (), self.clock.now_us(), self.progress, self.engine_memory_bytes
        ) as joining:
            inputs.check_score(joining.labels.columns)
            joining.join_all()
            replay = Replay(joining, inputs, runner, output, options.view)
            trial = _Trial(options, replay, chosen, self.progress)
            steps = trial.steps()
            good = [step.every_us for step in steps if step.every_us is not None and step.is_good_enough]
            return Tuned(
                view=options.view,
                pipeline=options.pipeline,
                model=runner.name,
                version=runner.version,
                labels=joining.labels.count,
                compared=trial.compared,
                steps=tuple(steps),
                chosen_us=good[-1] if good else None,
                remarks=tuple(trial.remarks(steps)),
            )


class _Trial:
    """The steps of one tuning: every schedule is compared with the freshest, on the labels that both
    answer."""

    def __init__(self, options: TuneOptions, replay: Replay, chosen: Wanted, progress: Progress) -> None:
        self._options = options
        self._replay = replay
        self._view = chosen.views[options.view]
        self._progress = progress
        self._outcomes = outcomes(replay, options.outcome)
        entity = tuple(field.name for field in self._view.view.key)
        self._clusters = numbered(replay, entity)
        self._groups = numbered(replay, (options.group,) if options.group else entity)
        self.compared = 0

    def steps(self) -> list[Step]:
        """Return the freshest and each longer interval, up to the first that isn't good enough."""
        intervals = self._options.intervals_us
        self._progress("schedules", "replay", 0, len(intervals) + 1)
        freshest = self._replay.scores()
        found = [self._step(None, freshest, freshest)]
        self.compared = int(freshest.is_answered.sum())
        for number, every_us in enumerate(intervals, start=1):
            self._progress("schedules", "replay", number, len(intervals) + 1)
            self._replay.joining.join(replace(self._view, every_us=every_us))
            found.append(self._step(every_us, self._replay.scores(), freshest))
            if not found[-1].is_good_enough:
                break
        self._progress("schedules", "replay", len(intervals) + 1, len(intervals) + 1)
        return found

    def remarks(self, steps: list[Step]) -> list[str]:
        """Return what there is to say beside the table."""
        found: list[str] = []
        if len(steps) > 1 and steps[-1].is_good_enough:
            found.append("the longest interval that was tried is good enough: try longer ones (--intervals)")
        if any(step.unanswered for step in steps):
            found.append("some labels would have had no answer: schedules are compared on the others")
        leaks = [name for name in self._options.as_is if name]
        if leaks:
            found.append(f"joined AS IT IS TODAY, with what came later: {', '.join(sorted(leaks))}")
        return found

    def _step(self, every_us: int | None, scores: Scores, freshest: Scores) -> Step:
        both = scores.is_answered & freshest.is_answered
        if not both.any():
            raise NotUsable("no label would have had an answer: there is nothing to compare")
        metric = self._metric(scores.values[both], both)
        reference = self._metric(freshest.values[both], both)
        clusters = np.unique(self._clusters[both], return_inverse=True)[1]
        bootstrap = Bootstrap(clusters, self._options.draws, self._options.confidence)
        sign = 1.0 if metric.higher_is_better else -1.0
        threshold = self._options.threshold

        def margin(weights: Floats) -> float:
            if threshold.absolute is not None:
                return sign * (metric.of(weights) - threshold.absolute)
            least = reference.of(weights) * (1 - sign * threshold.lost)
            return sign * (metric.of(weights) - least)

        return Step(
            every_us=every_us,
            metric=bootstrap.interval(metric.of),
            margin=bootstrap.interval(margin),
            found=scores.found,
            unanswered=int((~scores.is_answered).sum()),
        )

    def _metric(self, scores: Floats, rows: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Metric:
        outcome = self._outcomes[rows]
        if self._options.metric == "auc":
            return Auc(scores, outcome)
        if self._options.metric == "rmse":
            return Rmse(scores, outcome)
        groups = np.unique(self._groups[rows], return_inverse=True)[1]
        return Ndcg(scores, outcome, groups, self._options.at)


def _checked(plan: Plan, options: TuneOptions) -> Wanted:
    """Return what is joined. Raises: NotFound, InvalidRequest."""
    application = plan.application
    if options.pipeline not in application.pipelines:
        known = ", ".join(application.pipelines) or "none"
        raise NotFound(f"{plan.app} has no pipeline {options.pipeline}; its pipelines: {known}")
    if options.metric not in METRICS:
        raise InvalidRequest(f"--metric is one of {', '.join(METRICS)}, not {options.metric!r}")
    check_intervals(options.intervals_us)
    if options.view in options.every_us:
        raise InvalidRequest(f"--refreshed {options.view}: its interval is what is tried")
    chosen = wanted(plan, Asked((options.pipeline,), options.as_is, options.every_us))
    view = chosen.views.get(options.view)
    if view is None:
        raise NotFound(
            f"the model of {options.pipeline} takes nothing of view {options.view}; it takes of "
            f"{', '.join(chosen.views)}"
        )
    if view.join is not Join.AS_OF:
        why = "it is taken as it is" if view.join is Join.AS_IS else "a stream keeps it fresh"
        raise InvalidRequest(f"view {options.view} has no refresh to tune: {why}")
    return chosen
