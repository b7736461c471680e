"""Which live pipelines a change would leave without values that they have now. `forebay apply` refuses such a
change unless told otherwise; what any change costs is in `change_costs.py`."""

from __future__ import annotations

from collections.abc import Iterator

from registry.definitions import Application, Pipeline, View, split_column
from registry.dtypes import widens
from registry.pipeline_definitions import FeatureScore
from registry.plan import Plan
from registry.release import Release


def breaking_changes(old: Plan | None, live: Release | None, new: Application) -> list[str]:
    """Return a sentence for each feature that a live pipeline would read as null, with the way around it.

    A pipeline is live where every view that it reads has rows. A feature that is new is a break only without
    a default; one whose type changes, other than to a wider one, is a break with one too: it has values now.
    """
    if old is None or live is None:
        return []
    return [
        sentence
        for name, pipeline in new.pipelines.items()
        if name in old.application.pipelines and _is_live(old.application.pipelines[name], live)
        for column in pipeline_columns(new, pipeline)
        for sentence in _breaks(old.application, new, name, column)
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


def _breaks(before: Application, new: Application, pipeline: str, column: str) -> Iterator[str]:
    view, feature = split_column(column)
    now, was = new.views[view], before.views.get(view)
    if now.stream is not None or feature not in now.features:
        return  # windows are STALE, and said to be, until their stream has filled them
    filled = _filled(view, now)
    dtype, has_default = now.features[feature].dtype, now.features[feature].default is not None
    earlier = was.dtypes.get(feature) if was is not None else None
    null = f"pipeline {pipeline} is live and would read {column} as null until"
    if earlier is None:
        if not has_default:
            yield (
                f"{null} {filled}: it is new. In two steps: apply the file without its use in {pipeline}, "
                f"{filled}, and then apply the use; or give {column} a default"
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
