"""Following the release pointer: what a registry that changes, fails or forgets does to a server."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import cast

import pytest
from forebay.errors import NotUsable, Unavailable

from gateway.live import LiveRelease
from gateway.plan import CompiledRelease
from gateway.shelf import Shelf
from registry.application_file import parse_application
from registry.definitions import Application, Model
from registry.evolution import next_ids
from registry.plan import NO_IDS, Plan
from registry.registry import Registry
from registry.release import Release
from runtime.engine_settings import AnnIndexSettings, OnnxSettings
from tests.support.tiny_application import write_linear_model

TEXT = """\
app: shop
entities: {user: {key: {user_id: int64}}}
sources: {users: {parquet: users.parquet}}
views: {profile: {entity: user, batch: {source: users}, features: {age: float32}}}
"""


class Pointer:
    """What `LiveRelease` asks of a registry: its live number, and records that say the same each time."""

    app = "shop"

    def __init__(self, root: Path) -> None:
        self.number = 1
        self.root = root
        self.at_us = 1
        self.error: Exception | None = None
        self.broken = False
        self.plans_read = 0
        self.asked = asyncio.Event()

    async def live_number(self) -> int:
        self.asked.set()
        if self.error is not None:
            raise self.error
        return self.number

    async def release(self, number: int) -> Release:
        return Release(number, self.app, 1, at_us=self.at_us)

    async def plan(self, number: int) -> Plan:
        self.plans_read += 1
        application, _ = parse_application(TEXT.encode())
        ids = next_ids(NO_IDS, application, {"user": 1}, {"profile": 1}) if not self.broken else NO_IDS
        return Plan(number, self.app, application, str(self.root), ids)


def shelf(root: Path) -> Shelf:
    return Shelf("shop", root / "artifacts", root, AnnIndexSettings(), OnnxSettings())


async def follow(pointer: Pointer, *changes: Callable[[], object]) -> LiveRelease:
    """Return what is live after the changes, each made once what was before it has been noticed."""
    live = LiveRelease(cast(Registry, pointer), shelf, poll_s=0.0)
    swapped = asyncio.Event()

    async def on_swap(release: CompiledRelease) -> None:
        swapped.set()

    task = asyncio.create_task(live.follow(on_swap))
    try:
        async with asyncio.timeout(10):  # ends a test whose server has ended; nothing waits for it otherwise
            await swapped.wait()
            for change in changes:
                change()
                for _ in range(2):  # the second question comes once the first has had its effect
                    pointer.asked.clear()
                    await pointer.asked.wait()
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    return live


async def test_a_registry_that_forgets_the_application_does_not_end_what_is_served(tmp_path: Path) -> None:
    pointer = Pointer(tmp_path)
    live = await follow(pointer, lambda: setattr(pointer, "number", 0))
    assert live.current.number == 1
    assert "no application shop is applied" in live.pending_error


@pytest.mark.parametrize("error", [Unavailable("it is gone"), NotUsable("its records are of another kind")])
async def test_a_registry_that_fails_does_not_end_what_is_served(tmp_path: Path, error: Exception) -> None:
    pointer = Pointer(tmp_path)
    live = await follow(pointer, lambda: setattr(pointer, "error", error))
    assert live.current.number == 1
    assert str(error) in live.pending_error


async def test_a_registry_that_was_set_up_anew_is_noticed_when_its_numbers_come_again(tmp_path: Path) -> None:
    pointer = Pointer(tmp_path)
    await follow(pointer, lambda: None)
    assert pointer.plans_read == 1
    live = await follow(pointer, lambda: setattr(pointer, "at_us", 2))
    assert pointer.plans_read == 3
    assert (live.current.number, live.pending_error) == (1, "")


async def test_a_release_that_is_refused_is_compiled_again_at_growing_intervals_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pointer = Pointer(tmp_path)

    def publish_badly() -> None:
        pointer.number, pointer.broken = 2, True

    def mend() -> None:
        pointer.number, pointer.broken = 3, False

    live = await follow(pointer, publish_badly, *[lambda: None] * 10)
    assert 4 <= pointer.plans_read <= 6  # once for the good one; at polls 1, 3, 7 and 15 for the bad one
    assert live.current.number == 1
    assert "can't be compiled" in live.pending_error
    pointer.number, pointer.broken = 1, False
    live = await follow(pointer, publish_badly, *[lambda: None] * 4, mend)
    assert (live.current.number, live.pending_error) == (3, "")


async def test_a_server_that_starts_ends_where_nothing_is_applied(tmp_path: Path) -> None:
    pointer = Pointer(tmp_path)
    pointer.number = 0
    with pytest.raises(NotUsable, match="no application shop is applied"):
        await LiveRelease(cast(Registry, pointer), shelf, poll_s=0.0).follow(_ignore)


async def _ignore(release: CompiledRelease) -> None:
    return None


def test_a_model_is_loaded_again_from_another_repository(tmp_path: Path) -> None:
    for repository, weight in (("models", 1.0), ("others", 2.0)):
        write_linear_model(tmp_path / repository / "plain/1/model.onnx", [weight])
    held = shelf(tmp_path)
    models = [
        Model.model_validate({"repository": repository, "inputs": {"x": ["a.b"]}, "outputs": {"score": "y"}})
        for repository in ("models", "others")
    ]
    first, second = (held.runner("plain", model, "1") for model in models)
    assert first is not second
    assert held.runner("plain", models[0], "1") is first
    plans = [
        Plan(number, "shop", Application(app="shop", models={"plain": model}), "/", NO_IDS)
        for number, model in enumerate(models, 1)
    ]
    release = Release(1, "shop", 1).with_model("plain", "1")
    held.keep_only((plans[0], release), (plans[1], release))
    assert held.runner("plain", models[0], "1") is first
    assert held.runner("plain", models[1], "1") is second
    held.keep_only((plans[0], release))
    assert held.runner("plain", models[0], "1") is first
    assert held.runner("plain", models[1], "1") is not second
    held.keep_only((plans[0], Release(2, "shop", 1)))
    assert held.runner("plain", models[0], "1") is not first
