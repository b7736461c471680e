"""Which views and indexes hold embeddings of one space, and so must be published in one release."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from jobs.refused import Refused
from registry.definitions import Application


@dataclass(frozen=True, slots=True)
class Space:
    """A space, the views with a feature in it, and the indexes over such a feature."""

    name: str
    views: frozenset[str]
    indexes: frozenset[str]


def spaces(application: Application) -> list[Space]:
    """Return the application's spaces, by name."""
    features = [feature for view in application.views.values() for feature in view.features.values()]
    return [_space(application, name) for name in sorted({item.space for item in features if item.space})]


def shared_with(application: Application, views: Collection[str]) -> tuple[frozenset[str], frozenset[str]]:
    """Return every view and every index that shares a space with one of `views`, themselves included."""
    touched = [space for space in spaces(application) if space.views & frozenset(views)]
    all_views = frozenset(views).union(*(space.views for space in touched))
    return all_views, frozenset[str]().union(*(space.indexes for space in touched))


def index_space(application: Application, index: str) -> str:
    """Return the space of an index's vectors; empty when its feature declares none."""
    definition = application.indexes[index]
    view = application.views.get(definition.vector_view)
    feature = view.features.get(definition.vector_feature) if view else None
    return (feature.space if feature else None) or ""


def check_together(application: Application, views: Collection[str]) -> None:
    """Check that no view is refreshed without the batch views that share its space. Raises: Refused."""
    for space in spaces(application):
        absent = sorted(_batch_views(application, space.views) - frozenset(views))
        given = sorted(space.views & frozenset(views))
        if given and absent:
            raise Refused(
                f"{_listed(given)} shares the space {space.name} with {_listed(absent)}: refresh them "
                "together, or pass --same-space if the embedding's basis did not change"
            )


def _space(application: Application, name: str) -> Space:
    views = frozenset(
        view
        for view, definition in application.views.items()
        if any(feature.space == name for feature in definition.features.values())
    )
    indexes = frozenset(index for index in application.indexes if index_space(application, index) == name)
    return Space(name, views, indexes)


def _batch_views(application: Application, views: Iterable[str]) -> frozenset[str]:
    return frozenset(view for view in views if application.views[view].batch is not None)


def _listed(names: list[str]) -> str:
    return ", ".join(names)
