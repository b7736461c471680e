"""Models on disk: `<root>/<name>/<version>/model.onnx`, versions being positive integers. What isn't that is
not a version.
"""

from __future__ import annotations

import re
from pathlib import Path

from forebay.errors import NotFound

from model_server.onnx_runner import OnnxRunner
from runtime.engine_settings import OnnxSettings

MODEL_FILE = "model.onnx"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_VERSION = re.compile(r"[1-9][0-9]{0,17}")


class ModelRepository:
    """Finds and loads versions. Reads the disk at each call; holds nothing."""

    def __init__(self, root: Path, settings: OnnxSettings | None = None) -> None:
        self._root = root
        self._settings = settings or OnnxSettings()

    def names(self) -> list[str]:
        """Return the models that have a version, by name."""
        if not self._root.is_dir():
            return []
        return sorted(path.name for path in self._root.iterdir() if self.versions(path.name))

    def versions(self, name: str) -> list[int]:
        """Return a model's versions, ascending; none where there is no such model."""
        directory = self._root / name
        if not _NAME.fullmatch(name) or not directory.is_dir():
            return []
        versions = [path.name for path in directory.iterdir() if (path / MODEL_FILE).is_file()]
        return sorted(int(version) for version in versions if _VERSION.fullmatch(version))

    def latest(self, name: str) -> int:
        """Return a model's newest version. Raises: NotFound saying what there is."""
        versions = self.versions(name)
        if not versions:
            raise self._no_model(name)
        return versions[-1]

    def path(self, name: str, version: int) -> Path:
        """Return the path of a version's file. Raises: NotFound saying what there is."""
        versions = self.versions(name)
        if not versions:
            raise self._no_model(name)
        if version not in versions:
            there = ", ".join(map(str, versions))
            raise NotFound(f"model {name} has no version {version}; there is {there}")
        return self._root / name / str(version) / MODEL_FILE

    def load(self, name: str, version: int) -> OnnxRunner:
        """Return a version, loaded and warm. Raises and costs: as OnnxRunner.load."""
        return OnnxRunner.load(self.path(name, version), name, str(version), self._settings)

    def _no_model(self, name: str) -> NotFound:
        there = ", ".join(self.names()) or "none"
        return NotFound(
            f"model {name} has no version in {self._root} (<name>/<version>/{MODEL_FILE}); "
            f"models there: {there}"
        )
