"""The indexes and models that are loaded: each version once, kept while a release names it."""

from __future__ import annotations

from pathlib import Path

from ann_index.snapshot import Snapshot, index_directory, load_snapshot
from model_server.repository import ModelRepository
from model_server.runner import ModelRunner
from registry.definitions import Model
from registry.plan import Plan
from registry.release import Release
from runtime.engine_settings import AnnIndexSettings, OnnxSettings


class Shelf:
    """Loads what releases name. Not safe for concurrent use: one compilation runs at a time."""

    def __init__(
        self, app: str, artifacts: Path, root: Path, ann_index: AnnIndexSettings, onnx: OnnxSettings
    ) -> None:
        self._app = app
        self._artifacts = artifacts
        self._root = root
        self._ann_index = ann_index
        self._onnx = onnx
        self._snapshots: dict[tuple[str, str], Snapshot] = {}
        self._runners: dict[tuple[str, str, str], ModelRunner] = {}

    def snapshot(self, index: str, version: str) -> Snapshot:
        """Return an index version, loaded and verified.

        Raises: NotFound where it isn't there; Corrupt where its files differ from its manifest.
        """
        found = self._snapshots.get((index, version))
        if found is None:
            directory = index_directory(self._artifacts, self._app, index) / version
            found = self._snapshots[index, version] = load_snapshot(
                directory, self._artifacts / "cache", self._ann_index
            )
        return found

    def runner(self, name: str, model: Model, version: str) -> ModelRunner:
        """Return a model version, loaded and warm. Raises: NotFound, NotUsable."""
        key = name, version, model.repository
        found = self._runners.get(key)
        if found is None:
            repository = ModelRepository(self._root / model.repository, self._onnx)
            found = self._runners[key] = repository.load(name, int(version))
        return found

    def keep_only(self, *named: tuple[Plan, Release]) -> None:
        """Forget what no release, each with its plan, names; requests under way still hold theirs."""
        indexes = {(name, index.version) for _, release in named for name, index in release.indexes.items()}
        models = {
            (name, model.champion, plan.application.models[name].repository)
            for plan, release in named
            for name, model in release.models.items()
            if name in plan.application.models
        }
        self._snapshots = {key: value for key, value in self._snapshots.items() if key in indexes}
        self._runners = {key: value for key, value in self._runners.items() if key in models}
