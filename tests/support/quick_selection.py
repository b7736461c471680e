"""What of a matrix `make test` tries: pairs that cover each event loop and each kind of server where both
matter, one kind where the kind is not what is tested. The other combinations are slow ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.source_files import ROOT

ONE_KIND = frozenset({"tests/integration/jobs"})
"""Folders whose tests meet Valkey alone: what jobs do to a store is tested on both elsewhere."""
DIAGONAL = frozenset({"tests/integration/runtime"})
"""Folders whose tests meet Valkey on asyncio's loop, and Redis on uvloop."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow what is left out."""
    for item in items:
        if _is_left_out(item):
            item.add_marker(pytest.mark.slow)


def _is_left_out(item: pytest.Item) -> bool:
    callspec = getattr(item, "callspec", None)
    kind = callspec.params.get("store_server") if callspec is not None else None
    folder = Path(item.path).parent
    if kind is None or not folder.is_relative_to(ROOT):
        return False
    name = folder.relative_to(ROOT).as_posix()
    if name in ONE_KIND:
        return kind == "redis"
    return name in DIAGONAL and (kind == "redis") != ("uvloop" in callspec.id.split("-"))
