"""What an application file may say and this version doesn't do, and what is refused for it.
Serving one of these starts with removing its lines here."""

from __future__ import annotations

from collections.abc import Iterator

from registry.definitions import Pipeline
from registry.problems import FilePath
from registry.scope import Scope


def check_supported(scope: Scope) -> None:
    """Report what can't be served."""
    for path, what in _refused(scope):
        scope.report(path, f"{what} not supported by this version")


def _refused(scope: Scope) -> Iterator[tuple[FilePath, str]]:
    application = scope.application
    for name, model in application.models.items():
        for key, part in model.inputs.items():
            for place, column in enumerate(part.columns):
                if "/" in column:
                    where = ("models", name, "inputs", key, "columns", str(place))
                    yield where, "views of another application are"
    for name, pipeline in application.pipelines.items():
        for path, what in _refused_in(pipeline):
            yield ("pipelines", name, *path), what


def _refused_in(pipeline: Pipeline) -> Iterator[tuple[FilePath, str]]:
    for stage in ("hydrate", "hydrate_candidates"):
        for place, step in enumerate(getattr(pipeline, stage)):
            if "/" in step.view:
                yield (stage, str(place)), "views of another application are"
