"""What applying a change costs until the next refresh: views without rows, features that read null, indexes
without a version. `forebay plan` and `forebay apply` print it."""

from __future__ import annotations

from collections.abc import Iterator

from jobs.precomputed_state import precomputed_remarks
from registry.definitions import Application, Index, View
from registry.dtypes import DType, widens
from registry.evolution import next_ring
from registry.plan import Plan
from registry.release import Release


def change_costs(old: Plan | None, live: Release | None, new: Application) -> list[str]:
    """Return a sentence for each view and index of which `new` makes something missing.

    `old` is the live plan and `live` the live release, None where nothing was applied.
    """
    before = old.application if old is not None else Application(app=new.app)
    published = live.views.keys() if live is not None else frozenset()
    found: list[str] = []
    for name, view in new.views.items():
        users = [pipeline for pipeline, declared in new.pipelines.items() if name in declared.views]
        if view.stream is None:
            sentences = _of_view(name, before.views.get(name), view, is_published=name in published)
        else:
            sentences = _of_windows(name, old, view)
        found += [_used(sentence, users) for sentence in sentences]
    found += precomputed_remarks(new, live, ())
    for name in new.indexes:
        users = [
            pipeline
            for pipeline, declared in new.pipelines.items()
            if any(retrieve.index == name for retrieve in declared.retrieve)
        ]
        found += [_used(sentence, users) for sentence in _of_index(name, before, new)]
    return found


def _of_view(name: str, before: View | None, now: View, *, is_published: bool) -> Iterator[str]:
    until = _until(name, now)
    if before is None or (not is_published and before != now):
        yield f"view {name} has no rows until {until}"
        return
    if before.publish != now.publish:
        yield _publish_changed(name, now, until)
    lost = [feature for feature, dtype in now.dtypes.items() if _reads_null(before, feature, dtype)]
    if is_published and lost:
        yield f"view {name}: {', '.join(lost)} read null, or the default, until {until}"


def _of_windows(name: str, old: Plan | None, now: View) -> Iterator[str]:
    """What windows are made of is kept in tiles; others than those in use have to be filled anew."""
    tiles = None if old is None else old.tiles(name)
    if old is None or tiles is None:
        yield f"view {name} {_FILLED}"
        return
    stream, kept = tiles
    wanted = next_ring(old.ids, name, now)
    if stream != now.stream:
        yield f"view {name} starts anew, of another stream, and {_FILLED}"
    elif wanted.layout() != kept.features:
        yield f"view {name} starts anew, with tiles for what its windows need, and {_FILLED}"


_FILLED = "reads STALE until `forebay stream run` has brought in its stream"


def _until(name: str, view: View) -> str:
    return "WriteFeatures writes them" if view.batch is None else f"`forebay refresh run {name}`"


def _publish_changed(name: str, now: View, until: str) -> str:
    if now.publish == "upsert":
        return (
            f"view {name} is written in place from now on: its rows stay, and the age of each counts from "
            "when it was written"
        )
    aged = ", and are STALE, as its max_age counts from a refresh," if now.max_age_us is not None else ""
    return f"view {name} isn't written in place any more: its rows stay{aged} until {until} replaces them all"


def _reads_null(before: View, feature: str, dtype: DType) -> bool:
    was = before.dtypes.get(feature)
    return was is None or not widens(was, dtype)


def _of_index(name: str, before: Application, new: Application) -> Iterator[str]:
    was, now = before.indexes.get(name), new.indexes[name]
    if was is None:
        yield f"index {name} has no version until `forebay index build {name}`"
    elif _searched(before, was) != _searched(new, now):
        yield f"index {name} can't be searched until `forebay index build {name}`"


def _searched(application: Application, index: Index) -> tuple[object, ...]:
    """Return what a version of an index must agree with to be searched."""
    return index.entity, index.metric, application.dtype(index.vector)


def _used(sentence: str, pipelines: list[str]) -> str:
    return f"{sentence}; pipelines: {', '.join(pipelines)}" if pipelines else sentence
