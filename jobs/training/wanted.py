"""What a training set is to hold: the features of the views and pipelines that were named, and by which rule
each view is joined."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from forebay.errors import InvalidRequest, NotFound

from feature_store.schema import FeatureView, feature_view
from registry.candidates import request_key
from registry.definitions import Application, split_column
from registry.dtypes import DType
from registry.pipeline_definitions import Pipeline, RequestFeature
from registry.plan import Plan
from registry.problems import suggestion


class Join(Enum):
    """How a view's rows come to a label."""

    AS_OF = "as of"
    """The newest row that happened by the label's time."""

    AS_IS = "as is"
    """The row that the source holds today, whenever it came: asked for by name."""

    WINDOWS = "windows"
    """The aggregates of a stream's events in the tiles that cover the label's time."""


@dataclass(frozen=True, slots=True)
class WantedView:
    """A view of the training set, those of its features that are wanted, and how they are joined.

    `every_us`: it is refreshed that often, and not all the time; None where it is.
    """

    view: FeatureView
    features: tuple[str, ...]
    join: Join
    every_us: int | None = None

    @property
    def name(self) -> str:
        return self.view.name


@dataclass(frozen=True, slots=True)
class Asked:
    """What the caller names: views, features (`view.feature`), or a pipeline; which views to take as they
    are; how often views are refreshed, where not all the time."""

    names: tuple[str, ...]
    as_is: frozenset[str] = frozenset()
    every_us: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to join. `features` are "view.feature", in the order of the training set. `pipeline` is the one
    that was named, with its request features; None where none was."""

    views: Mapping[str, WantedView]
    features: tuple[str, ...]
    keys: Mapping[str, DType]
    pipeline: str | None
    request: Mapping[str, RequestFeature]


def wanted(plan: Plan, asked: Asked) -> Wanted:
    """Return what the names stand for.

    Raises: NotFound for an unknown name; InvalidRequest for views that can't be joined as of a time, all of
    them told at once, and for two pipelines.
    """
    application = plan.application
    pipelines = [name for name in asked.names if name in application.pipelines]
    if len(pipelines) > 1:
        raise InvalidRequest(
            f"a training set is of one pipeline, not of {', '.join(pipelines)}: name views beside it"
        )
    definition = application.pipelines[pipelines[0]] if pipelines else None
    features = list(dict.fromkeys(name for given in asked.names for name in _features(application, given)))
    by_view: dict[str, list[str]] = {}
    for column in features:
        view, feature = split_column(column)
        by_view.setdefault(view, []).append(feature)
    if definition is not None:
        for view in _score_views(application, definition):
            by_view.setdefault(view, [])
    _check_named(asked, by_view)
    joins = _joins(application, by_view, asked.as_is)
    views = {
        name: WantedView(feature_view(plan, name), tuple(of_view), joins[name], asked.every_us.get(name))
        for name, of_view in by_view.items()
    }
    entities = [application.views[name].entity for name in by_view]
    keys = {key: dtype for entity in entities for key, dtype in application.entities[entity].key.items()}
    if definition is not None:
        keys |= request_key(application, definition)
    request = {} if definition is None else definition.request
    return Wanted(views, tuple(features), keys, pipelines[0] if pipelines else None, request)


def _features(application: Application, name: str) -> list[str]:
    """Return the features that a name stands for. Raises: NotFound."""
    view, feature = split_column(name)
    if not view and name in application.views:
        return [f"{name}.{of_view}" for of_view in application.views[name].dtypes]
    if not view and name in application.pipelines:
        model = application.models[application.pipelines[name].predict]
        return [column for column in model.columns if split_column(column)[0] in application.views]
    if view in application.views and feature in application.views[view].dtypes:
        return [name]
    known = [*application.views, *application.pipelines]
    if view in application.views:
        known = [f"{view}.{of_view}" for of_view in application.views[view].dtypes]
    raise NotFound(f"there is no view, feature or pipeline {name!r}: {suggestion(name, known)}")


def _score_views(application: Application, pipeline: Pipeline) -> list[str]:
    """Return the views whose vectors make `retrieve.score`, where the model takes it."""
    if "retrieve.score" not in application.models[pipeline.predict].columns or len(pipeline.retrieve) != 1:
        return []
    [retrieve] = pipeline.retrieve
    return [split_column(retrieve.query)[0], application.indexes[retrieve.index].vector_view]


def _check_named(asked: Asked, views: Collection[str]) -> None:
    for name in [*sorted(asked.as_is), *asked.every_us]:
        if name not in views:
            raise InvalidRequest(
                f"view {name} isn't in this training set; its views are {', '.join(views)}", field=name
            )


def _joins(
    application: Application, views: Sequence[str] | Mapping[str, object], as_is: frozenset[str]
) -> dict[str, Join]:
    joins: dict[str, Join] = {}
    problems: list[str] = []
    for name in views:
        view = application.views[name]
        if view.stream is not None:
            joins[name] = Join.WINDOWS
            if application.streams[view.stream].history is None:
                problems.append(
                    f"view {name}: stream {view.stream} names no `history`, the source of its past events"
                )
        elif view.batch is None:
            problems.append(
                f"view {name} has no batch source: WriteFeatures writes it, and what it held isn't kept"
            )
        else:
            joins[name] = Join.AS_IS if name in as_is else Join.AS_OF
    if problems:
        raise InvalidRequest("\n".join(problems))
    return joins
