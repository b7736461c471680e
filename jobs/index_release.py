"""Which version of an index is live: publishing a built one, going back to an earlier one, listing them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from forebay.errors import Corrupt, NotFound, NotUsable

from ann_index.snapshot import Manifest, check_files, index_directory, list_versions, read_manifest
from jobs.index_build import IndexBuilder, check_bar, index_definition, view_of_index
from jobs.progress import Progress
from jobs.refused import Refused
from jobs.spaces import index_space
from registry.definitions import Application
from registry.plan import Plan
from registry.registry import Registry
from registry.release import Release

_HISTORY = 1000
"""Releases looked back on for the version that was live before."""


@dataclass(frozen=True, slots=True)
class VersionState:
    """A version of an index, as `forebay index list` shows it. `problem` says why it can't be used."""

    index: str
    version: str
    live: bool
    manifest: Manifest | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class IndexReleases:
    """Publishes versions of one application's indexes; what it needs of the world."""

    registry: Registry
    artifacts: Path
    who: str = ""

    async def build(
        self, builder: IndexBuilder, index: str, progress: Progress, *, publish: bool
    ) -> Manifest:
        """Build a version from what is live of its view; publish it if it meets the bar, unless told not to.

        Raises: Refused where the bar is not met: the snapshot is kept. As IndexBuilder.build.
        """
        plan, live = await self._state()
        index_definition(plan.application, index)
        version = await self.registry.next_index_version(index)
        rows = view_of_index(plan.application, live, index)

        def report(stage: str, done: int, total: int) -> None:
            progress(f"index {index}", stage, done, total)

        manifest = await builder.build(plan, index, rows, version, report)
        if publish:
            check_bar(plan.application, manifest)
            await self._make_live(plan, manifest, same_space=False)
        return manifest

    async def publish(self, index: str, version: str, *, same_space: bool) -> Release:
        """Make a built version live, whether or not it meets the bar: a person asks for it.

        Raises: NotFound; Corrupt; Refused where it is of another basis than the live rows of its space.
        """
        plan, _ = await self._state()
        return await self._make_live(plan, self._manifest(plan, index, version), same_space=same_space)

    async def rollback(self, index: str, version: str | None, *, same_space: bool) -> Release:
        """Make an earlier version live: the one named, else the one that was live before the live one.

        Raises: NotUsable where there is none; as `publish`.
        """
        plan, live = await self._state()
        index_definition(plan.application, index)
        earlier = version or await self._earlier(plan, live, index)
        return await self._make_live(
            plan, self._manifest(plan, index, earlier), same_space=same_space, why="roll back"
        )

    async def versions(self, index: str | None = None) -> list[VersionState]:
        """Return the versions of one index, or of all, oldest first."""
        plan, live = await self._state()
        if index is not None:
            index_definition(plan.application, index)
        names = [index] if index is not None else list(plan.application.indexes)
        return [state for name in names for state in self._states(plan.app, live, name)]

    async def _state(self) -> tuple[Plan, Release]:
        live = await self.registry.live()
        if live is None:
            raise NotUsable(f"no application {self.registry.app} is applied: run `forebay apply FILE` first")
        return await self.registry.plan(live.plan), live

    async def _make_live(
        self, plan: Plan, manifest: Manifest, *, same_space: bool, why: str = "publish"
    ) -> Release:
        misfit = manifest.misfit(plan.application.indexes[manifest.index])
        if misfit:
            raise Refused(f"index {manifest.index}: {misfit}")

        def change(release: Release) -> Release:
            if not same_space:
                _check_basis(plan.application, release, manifest)
            return release.with_index(manifest.index, manifest.version)

        reason = f"{why} index {manifest.index} {manifest.version}"
        return await self.registry.publish(change, who=self.who, why=reason)

    async def _earlier(self, plan: Plan, live: Release, index: str) -> str:
        """Return the newest version below the live one that was live and is still there."""
        entry = live.indexes.get(index)
        if entry is None:
            raise NotUsable(f"no version of index {index} is live: run `forebay index build {index}`")
        directory = index_directory(self.artifacts, plan.app, index)
        there = {version: int(version) for version in list_versions(directory) if version.isdecimal()}
        for release in await self.registry.releases(_HISTORY):
            before = release.indexes.get(index)
            if before and there.get(before.version, int(entry.version)) < int(entry.version):
                return before.version
        raise NotUsable(f"index {index} has no earlier version that was live and is still there")

    def _manifest(self, plan: Plan, index: str, version: str) -> Manifest:
        index_definition(plan.application, index)
        directory = index_directory(self.artifacts, plan.app, index)
        if version not in list_versions(directory):
            known = ", ".join(_by_number(list_versions(directory))) or "none"
            raise NotFound(f"index {index} has no version {version}; there are these: {known}")
        try:
            manifest = read_manifest(directory / version)
            check_files(directory / version, manifest)
        except Corrupt as error:
            raise Corrupt(f"index {index} {version}: {error.message}") from error
        return manifest

    def _states(self, app: str, live: Release, index: str) -> list[VersionState]:
        entry = live.indexes.get(index)
        live_version = entry.version if entry else ""
        directory = index_directory(self.artifacts, app, index)
        there = list_versions(directory)
        states = [_read_state(directory, index, version, live_version) for version in _by_number(there)]
        if live_version and live_version not in there:
            states.append(VersionState(index, live_version, True, None, f"not in {directory}"))
        return states


def _check_basis(application: Application, release: Release, manifest: Manifest) -> None:
    """Check that an index with a space is of the batch whose rows are live. Raises: Refused."""
    space = index_space(application, manifest.index)
    rows = view_of_index(application, release, manifest.index)
    if space and rows is not None and rows.batch != manifest.batch:
        built_from, serving = manifest.batch or "none", rows.batch or "none"
        raise Refused(
            f"index {manifest.index} {manifest.version} was built from batch {built_from}, but {serving} "
            f"is live in the space {space}: build the index again, roll the views back with it "
            "(`forebay refresh rollback`), or pass --same-space if the basis is the same"
        )


def _read_state(directory: Path, index: str, version: str, live: str) -> VersionState:
    manifest, problem = None, ""
    try:
        manifest = read_manifest(directory / version)
        check_files(directory / version, manifest)
    except Corrupt as error:
        problem = error.message
    return VersionState(index, version, version == live, manifest, problem)


def _by_number(versions: Sequence[str]) -> list[str]:
    return sorted(versions, key=lambda version: (int(version) if version.isdecimal() else 0, version))
