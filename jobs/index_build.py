"""Builds a version of an index from a generation of its view, and says whether it meets the bar. Publishing
it is `index_release.py`, or `refresh.py` where the view is refreshed with it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from forebay.errors import InvalidRequest, NotFound, NotUsable

from ann_index.snapshot import Manifest, SnapshotSpec, build_snapshot, index_directory
from ann_index.types import Metric
from feature_store.codec import ViewReader
from feature_store.schema import FeatureView, feature_view
from feature_store.store import OnlineStore
from jobs.generation_keys import GenerationKeys
from jobs.in_thread import in_thread
from jobs.refused import Refused
from jobs.spaces import index_space
from jobs.view_vectors import Vectors, read_vectors, stored_texts
from registry.definitions import Application, Index
from registry.plan import Plan
from registry.release import Release, ViewRelease
from runtime.clock import Clock
from runtime.engine_settings import AnnIndexSettings
from runtime.redis_connection import RedisConnection

Progress = Callable[[str, int, int], None]
"""Is told the stage of a build, how much of it is done, and of how much."""


@dataclass(frozen=True, slots=True)
class IndexBuilder:
    """Builds indexes of one application; what it needs of the world."""

    connection: RedisConnection
    store: OnlineStore
    artifacts: Path
    clock: Clock
    settings: AnnIndexSettings

    async def build(
        self, plan: Plan, index: str, live: ViewRelease | None, version: str, progress: Progress
    ) -> Manifest:
        """Return the manifest of a new version, built from the view's generation `live` and not published.

        Raises: NotUsable where the view holds no vectors; Refused where the key has several fields; as
        build_snapshot. Cost: all vectors in memory, minutes for millions of them; the loop isn't blocked.
        """
        definition = index_definition(plan.application, index)
        view = feature_view(plan, definition.vector_view)
        if view.publish == "swap" and live is None:
            raise NotUsable(
                f"view {view.name} was never refreshed: run `forebay refresh run {view.name}` first"
            )
        released = live or ViewRelease(0)
        vectors = await self._vectors(plan, view, released, definition.vector_feature)
        spec = SnapshotSpec(
            version=version,
            metric=Metric(definition.metric),
            entity=definition.entity,
            key_field=view.key[0].name,
            key_dtype=view.key[0].dtype.scalar,
            space=index_space(plan.application, index),
            batch=released.batch,
            source=f"{definition.vector} of generation {released.generation}",
        )
        directory = index_directory(self.artifacts, plan.app, index)
        try:
            return await in_thread(
                build_snapshot,
                directory,
                spec,
                vectors.keys,
                vectors.values,
                clock=self.clock,
                settings=self.settings,
                target_recall=definition.publish_if.recall_at_10,
                progress=progress,
            )
        except InvalidRequest as error:
            raise NotUsable(f"index {index}: {error.message}") from error

    async def _vectors(self, plan: Plan, view: FeatureView, released: ViewRelease, feature: str) -> Vectors:
        if len(view.key) != 1:
            raise Refused(f"entity {view.entity} has a key of several fields, which no index can hold")
        keys = GenerationKeys(self.connection, plan.app, view.view_id)
        reader = ViewReader(view, released.generation, released.as_of_us)
        texts = stored_texts(self.connection, keys, view, released.generation)
        return await read_vectors(self.store, texts, reader, feature, self.clock.now_us())


def index_definition(application: Application, index: str) -> Index:
    """Return an index's definition. Raises: NotFound naming those there are."""
    definition = application.indexes.get(index)
    if definition is None:
        known = ", ".join(application.indexes) or "none"
        raise NotFound(f"{application.app} has no index {index}; it has these: {known}")
    return definition


def check_bar(application: Application, manifest: Manifest) -> None:
    """Check that a version meets its index's `publish_if`. Raises: Refused with every shortfall."""
    shortfalls = manifest.shortfalls(application.indexes[manifest.index].publish_if)
    if shortfalls:
        raise Refused(
            f"index {manifest.index} {manifest.version} is built, but not published: {'; '.join(shortfalls)}"
        )


def view_of_index(application: Application, release: Release, index: str) -> ViewRelease | None:
    """Return what is live of the view that an index's vectors come from."""
    return release.views.get(application.indexes[index].vector_view)
