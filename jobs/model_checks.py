"""What `forebay apply` says of an application's models: the versions that will be live, against what is in
their repositories. Warnings only: a file may come later. Sources are in `source_checks.py`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from forebay.errors import Error

from model_server.declaration import declared_inputs, declared_outputs
from model_server.repository import MODEL_FILE, ModelRepository
from model_server.signature import check_signature
from registry.definitions import Application
from registry.scope import Scope


def initial_versions(application: Application, root: Path) -> dict[str, str]:
    """Return the version that each model starts with: the file's champion, else the newest there is."""
    versions: dict[str, str] = {}
    for name, model in application.models.items():
        there = ModelRepository(root / model.repository).versions(name)
        declared = model.traffic.get("champion")
        if declared is not None:
            versions[name] = str(declared)
        elif there:
            versions[name] = str(max(there))
    return versions


def check_models(scope: Scope, root: Path, versions: Mapping[str, str]) -> None:
    """Warn of each model whose version in `versions` is missing, or doesn't fit what a pipeline declares.

    Cost: loads and warms each model.
    """
    for name, model in scope.application.models.items():
        repository = ModelRepository(root / model.repository)
        there = repository.versions(name)
        version = versions.get(name)
        if version is None:
            place = f"{model.repository}/{name}/1/{MODEL_FILE}"
            scope.report(
                ("models", name),
                f"has no version in its repository: put one at {place}, then apply again",
                "warning",
            )
        elif int(version) not in there:
            _report_missing(scope, name, version, there)
        else:
            _check_fit(scope, repository, name, version)


def _report_missing(scope: Scope, name: str, version: str, there: list[int]) -> None:
    model = scope.application.models[name]
    listed = f"there: {', '.join(map(str, there))}" if there else "none is there"
    place = f"{model.repository}/{name}/{version}/{MODEL_FILE}"
    users = [pipe for pipe, pipeline in scope.application.pipelines.items() if pipeline.predict == name]
    until = f", until when {', '.join(users)} can't be served" if users else ""
    choose = f", or choose another by traffic and `--set-traffic`{until}" if there else until
    path = ("models", name, "traffic", "champion") if "champion" in model.traffic else ("models", name)
    scope.report(
        path, f"version {version} is not in its repository ({listed}): put it at {place}{choose}", "warning"
    )


def _check_fit(scope: Scope, repository: ModelRepository, name: str, version: str) -> None:
    application = scope.application
    reasons: dict[str, None] = {}
    try:
        runner = repository.load(name, int(version))
    except Error as error:
        reasons[error.message] = None
    else:
        outputs = declared_outputs(application.models[name])
        for pipeline in application.pipelines.values():
            if pipeline.predict == name:
                try:
                    check_signature(runner, declared_inputs(application, pipeline), outputs)
                except Error as error:
                    reasons[error.message] = None
    for reason in reasons:
        scope.report(("models", name), reason, "warning")
