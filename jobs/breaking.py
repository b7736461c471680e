"""Which live pipelines a change would leave without values that they have now. `forebay apply` refuses such a
change unless told otherwise; what any change costs is in `change_costs.py`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from registry.definitions import Application, Pipeline, View, split_column
from registry.dtypes import widens
from registry.pipeline_definitions import FeatureScore
from registry.plan import Plan
from registry.registry import Registry
from registry.release import Release


async def loaded_views(registry: Registry, live: Release | None) -> dict[str, View]:
    """Return the swapped views as they were when their live rows were loaded: since then features may have
    been applied that no row has yet. A view whose batch isn't recorded any more is left out.

    Cost: a round trip, and one for each plan that is found.
    """
    batches = {name: entry.batch for name, entry in live.views.items() if entry.batch} if live else {}
    records = await registry.batch_records(list(batches.values()))
    numbers = {name: records[batch].plan for name, batch in batches.items() if batch in records}
    plans = {number: await registry.plan(number) for number in set(numbers.values()) if number}
    found = {
        name: plans[number].application.views.get(name) for name, number in numbers.items() if number in plans
    }
    return {name: view for name, view in found.items() if view is not None and view.publish == "swap"}


def breaking_changes(
    old: Plan | None, live: Release | None, new: Application, loaded: Mapping[str, View]
) -> list[str]:
    """Return a sentence for each feature that a live pipeline would read as null, with the way around it.

    A pipeline is live where every view that it reads has rows. A feature that is new, to the plan or to the
    rows that are `loaded`, is a break only without a default; one whose type changes, other than to a wider
    one, is a break with one too: it has values now. What a live pipeline reads as null already is none.
    """
    if old is None or live is None:
        return []
    return [
        sentence
        for name, pipeline in new.pipelines.items()
        if name in old.application.pipelines and _is_live(old.application.pipelines[name], live)
        for column in pipeline_columns(new, pipeline)
        for sentence in _breaks({**old.application.views, **loaded}, new, name, column)
        if not _was_read_so(old.application, new, name, column)
    ]


def pipeline_columns(application: Application, pipeline: Pipeline) -> list[str]:
    """Return the stored features that a pipeline's answer is made of, as "view.feature", each once."""
    model = application.models.get(pipeline.predict)
    columns = [*(model.columns if model else ()), *pipeline.select.where, pipeline.select.by or ""]
    for retrieve in pipeline.retrieve:
        columns += [retrieve.query, retrieve.exclude or ""]
    columns += [action.feature for action in pipeline.degrade.predict if isinstance(action, FeatureScore)]
    return [column for column in dict.fromkeys(columns) if split_column(column)[0] in application.views]


def pipelines_of(application: Application, column: str) -> list[str]:
    """Return the pipelines whose answer is made of a feature, "view.feature"."""
    return [
        name
        for name, pipeline in application.pipelines.items()
        if column in pipeline_columns(application, pipeline)
    ]


def _is_live(pipeline: Pipeline, live: Release) -> bool:
    return all(view in live.views for view in pipeline.views)


def _was_read_so(before: Application, new: Application, pipeline: str, column: str) -> bool:
    """Return whether the live pipeline makes its answers of the feature already, of the same type."""
    used = pipeline_columns(before, before.pipelines[pipeline])
    return column in used and before.dtype(column) == new.dtype(column)


def _breaks(before: Mapping[str, View], new: Application, pipeline: str, column: str) -> Iterator[str]:
    view, feature = split_column(column)
    now, was = new.views[view], before.get(view)
    if now.stream is not None or feature not in now.features:
        return  # windows are STALE, and said to be, until their stream has filled them
    filled = _filled(view, now)
    dtype, has_default = now.features[feature].dtype, now.features[feature].default is not None
    earlier = was.dtypes.get(feature) if was is not None else None
    null = f"pipeline {pipeline} is live and would read {column} as null until"
    if earlier is None:
        if not has_default:
            yield (
                f"{null} {filled}: no row has it yet. In two steps: apply the file without its use in "
                f"{pipeline}, {filled}, and then apply the use; or give {column} a default"
            )
    elif not widens(earlier, dtype):
        yield (
            f"{null} {filled}: it was {earlier} and would be {dtype}. In two steps: apply the file with a "
            f"feature of another name for {dtype} beside it, {filled}, and then let {pipeline} use that and "
            f"drop {column}"
        )


def _filled(name: str, view: View) -> str:
    if view.batch is None:
        return f"rows of {name} are written anew"
    return f"`forebay refresh run {name}`"
