"""`forebay training-set`: labels joined to features as they were known at each label's time, by the
definitions that serve. Labels are read and numbered (`labels.py`), each view is joined to them into a file of
its own (`as_of.py`), and the files are read in step (`joining.py`) and written as one (`output.py`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from forebay.errors import InvalidRequest, NotUsable

from jobs.in_thread import in_thread
from jobs.progress import Progress
from jobs.sources import DEFAULT_MEMORY_BYTES
from jobs.training.joining import Joining
from jobs.training.labels import LabelOptions, extremes_us
from jobs.training.model_inputs import ModelInputs
from jobs.training.output import (
    Columns,
    FeatureColumns,
    InputColumns,
    Tally,
    check_output,
    made_names,
    write_training_set,
)
from jobs.training.view_values import ViewValueReader
from jobs.training.wanted import Asked, Join, Wanted, WantedView, wanted
from registry.plan import Plan
from registry.registry import Registry
from runtime.clock import Clock


@dataclass(frozen=True, slots=True)
class TrainingSetOptions:
    """`asked`: which features. `labels`: of what, and when. `output`: the Parquet file. `model_inputs`: the
    model's own inputs instead of single features."""

    asked: Asked
    labels: LabelOptions
    output: Path
    model_inputs: bool = False


@dataclass(frozen=True, slots=True)
class TrainingSetOutcome:
    """A training set that is written: what was counted, the times of its first and last label, how each view
    was joined, and what there is to remark."""

    output: Path
    tally: Tally
    oldest_us: int
    newest_us: int
    views: tuple[WantedView, ...]
    remarks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Makes training sets of one application; what it needs of the world."""

    registry: Registry
    clock: Clock
    progress: Progress
    engine_memory_bytes: int = DEFAULT_MEMORY_BYTES

    async def run(self, options: TrainingSetOptions) -> TrainingSetOutcome:
        """Write the training set; return what is in it. The file is there whole, or as it was.

        Raises: NotUsable where nothing is applied, or the data doesn't fit; NotFound for an unknown name;
        InvalidRequest for labels that are wrong, and for views that can't be joined as of a time.
        Cost: the store isn't read. A pass over the labels and over each view's history; what is sorted and
        joined spills to disk; memory for a few thousand rows.
        """
        plan = await self.registry.live_plan()
        if plan is None:
            raise NotUsable(f"no application {self.registry.app} is applied: run `forebay apply FILE` first")
        return await in_thread(self._made, plan, options)

    def _made(self, plan: Plan, options: TrainingSetOptions) -> TrainingSetOutcome:
        check_output(options.output)
        chosen = wanted(plan, options.asked)
        columns = _columns(plan, chosen, options)
        with Joining(
            plan,
            chosen,
            options.labels,
            made_names(columns),
            self.clock.now_us(),
            self.progress,
            self.engine_memory_bytes,
        ) as joining:
            if isinstance(columns, InputColumns):
                columns.inputs.check_score(joining.labels.columns)
            joining.join_all()
            tally = write_training_set(joining, columns, options.output, self.progress)
            oldest_us, newest_us = extremes_us(joining.labels)
        views = tuple(chosen.views.values())
        return TrainingSetOutcome(
            options.output, tally, oldest_us, newest_us, views, tuple(_remarks(views, tally))
        )


def _columns(plan: Plan, chosen: Wanted, options: TrainingSetOptions) -> Columns:
    if not options.model_inputs:
        return FeatureColumns(chosen)
    if chosen.pipeline is None:
        raise InvalidRequest("--model-inputs needs a pipeline among the names, whose model it is")
    return InputColumns(chosen, model_inputs(plan, chosen))


def model_inputs(plan: Plan, chosen: Wanted) -> ModelInputs:
    """Return what assembles the inputs of the model of the pipeline that was named."""
    readers = {name: ViewValueReader(view).reader for name, view in chosen.views.items()}
    return ModelInputs(plan.application, plan.application.pipelines[chosen.pipeline or ""], readers)


def _remarks(views: tuple[WantedView, ...], tally: Tally) -> Iterator[str]:
    for view in views:
        if view.join is Join.AS_IS:
            yield (
                f"view {view.name} was joined AS IT IS TODAY, and not as it was known at each label's time: "
                "what came later leaks into the training set, and a model looks better on it than it is"
            )
        elif not tally.found.get(view.name, 0):
            yield f"view {view.name}: no label found a row: are its keys those of the labels, and older?"
    if tally.unserved:
        yield f"{tally.unserved:,} labels would have had no answer: `served` is false in their rows"
