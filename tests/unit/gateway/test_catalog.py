"""What is told of views, and what isn't where it can't be known."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import pytest
from forebay.errors import NotFound, Unavailable

from gateway import catalog
from gateway.catalog import ViewCatalog
from gateway.plan import CompiledRelease
from registry.batch import BatchRecord, Figures
from tests.support.compiled_application import CompiledApplication


class Records:
    """The batches' records, and how often they were read."""

    def __init__(self, *records: BatchRecord) -> None:
        self.found = {record.id: record for record in records}
        self.reads = 0
        self.failure: Exception | None = None

    async def read(self, ids: Sequence[str]) -> Mapping[str, BatchRecord]:
        self.reads += 1
        if self.failure is not None:
            raise self.failure
        return {batch: self.found[batch] for batch in ids if batch in self.found}


def record(*views: str, status: Literal["running", "done"] = "done") -> BatchRecord:
    figures = {view: Figures(rows=7) for view in views}
    return BatchRecord("b1", 1, "refresh", views=views, status=status, row_count=9, figures=figures)


def refreshed(application: CompiledApplication) -> CompiledRelease:
    return replace(application.release, batches={"profile": "b1"})


async def test_rows_and_age_are_those_of_the_live_batch(application: CompiledApplication) -> None:
    records = Records(record("profile"))
    views = ViewCatalog(records.read, application.clock)
    application.clock.advance(3600.0)
    [profile, now] = await views.describe(refreshed(application), ["profile", "now"])
    assert (profile.batch, profile.row_count) == ("b1", 7)
    assert (profile.age_us, profile.stale) == (3_600_000_000, False)
    assert (now.batch, now.row_count, now.age_us, now.stale) == ("", None, None, None)
    application.clock.advance(0.001)
    [profile] = await views.describe(refreshed(application), ["profile"])
    assert profile.stale is True
    assert records.reads == 1


@pytest.mark.parametrize(
    "found",
    [record("profile", status="running"), record("other"), None],
    ids=["running", "of another view", "dropped"],
)
async def test_rows_are_not_told_when_they_are_not_known(
    application: CompiledApplication, found: BatchRecord | None
) -> None:
    records = Records(*([] if found is None else [found]))
    [profile] = await ViewCatalog(records.read, application.clock).describe(
        refreshed(application), ["profile"]
    )
    assert (profile.batch, profile.row_count) == ("b1", None)


async def test_a_view_is_described_when_the_records_cannot_be_read(
    application: CompiledApplication, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = Records(record("profile"))
    records.failure = Unavailable("gone")
    views = ViewCatalog(records.read, application.clock)
    [profile] = await views.describe(refreshed(application), ["profile"])
    assert profile.row_count is None

    async def hang(_ids: Sequence[str]) -> Mapping[str, BatchRecord]:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(catalog, "WAIT_S", 0.01)
    [profile] = await ViewCatalog(hang, application.clock).describe(refreshed(application), ["profile"])
    assert profile.row_count is None
    records.failure = None
    [profile] = await views.describe(refreshed(application), ["profile"])
    assert profile.row_count == 7


async def test_an_unknown_view_is_not_found(application: CompiledApplication) -> None:
    with pytest.raises(NotFound, match="no such view"):
        await ViewCatalog(Records().read, application.clock).describe(application.release, ["nowhere"])
