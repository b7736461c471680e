"""What callers see while a dependency is slow, gone or wrong, and that service comes back by itself."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import forebay
import grpc
import pytest
import pytest_asyncio
from forebay.v1 import admin_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from runtime.embedded_store import TemporaryStore
from tests.support.fault_proxy import FaultProxy
from tests.support.served_application import ServedApplication, environment, prepare, served
from tests.support.served_application import forebay as run
from tests.support.tiny_application import WEIGHTS, write_linear_model, write_tiny_application
from tests.support.until import LONG_S


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TemporaryStore, Path]]:
    """A store that holds the tiny application, and the directory of its files."""
    directory = tmp_path_factory.mktemp("faults")
    file = write_tiny_application(directory / "app")
    with TemporaryStore() as store:
        prepare(directory, store.url, file, ("items",))
        yield store, directory


@pytest.fixture
async def proxy(store: tuple[TemporaryStore, Path]) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(store[0].socket) as proxy:
        yield proxy


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def behind(
    store: tuple[TemporaryStore, Path],
) -> AsyncIterator[tuple[ServedApplication, FaultProxy]]:
    """A gateway that finds its store through a proxy, for all who leave it as they found it."""
    async with FaultProxy(store[0].socket) as proxy, in_thread(store[1], proxy.url) as gateway:
        yield gateway, proxy


@asynccontextmanager
async def in_thread(directory: Path, redis_url: str) -> AsyncIterator[ServedApplication]:
    """Serve the application; starting and ending it block a thread, not the loop that runs the proxy."""
    context = served(directory, redis_url, "tiny")
    gateway = await asyncio.to_thread(context.__enter__)
    try:
        yield gateway
    finally:
        await asyncio.to_thread(context.__exit__, None, None, None)


async def until_answered(client: forebay.aio.Client, user_id: int = 2) -> forebay.Answer:
    """Return the first answer."""
    async with asyncio.timeout(LONG_S):
        while True:
            try:
                return await client.predict("items_for_user", user_id=user_id, timeout_s=1.0)
            except (forebay.Unavailable, forebay.DeadlineExceeded):
                await asyncio.sleep(0.05)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_slow_store_is_done_without_where_the_rules_say_so(
    behind: tuple[ServedApplication, FaultProxy],
) -> None:
    gateway, proxy = behind
    async with forebay.aio.Client(gateway.gateway) as client:
        await until_answered(client)
        proxy.delay_s = LONG_S
        answer = await client.predict("patient_risk", user_id=3, amount=50.0, timeout_s=LONG_S)
        (part,) = answer.degradations
        assert (part.stage, part.subject, part.reason, part.action) == (
            "hydrate",
            "user_profile",
            "TIMEOUT",
            "DEFAULTS",
        )
        hydrated = next(stage for stage in answer.provenance.stages if stage.stage == "hydrate")
        assert hydrated.given_us <= 50_000 <= hydrated.duration_us
        proxy.hurry()


@pytest.mark.asyncio(loop_scope="module")
async def test_a_slow_store_costs_the_deadline_and_no_more(
    behind: tuple[ServedApplication, FaultProxy],
) -> None:
    gateway, proxy = behind
    async with forebay.aio.Client(gateway.gateway) as client:
        await until_answered(client)
        proxy.delay_s = LONG_S
        with pytest.raises(forebay.DeadlineExceeded):
            await client.predict("items_for_user", user_id=2, timeout_s=0.1)
        proxy.hurry()
        assert len(await until_answered(client)) == 5


@pytest.mark.asyncio(loop_scope="module")
async def test_a_store_that_resets_or_vanishes_is_unavailable_until_it_is_back(
    behind: tuple[ServedApplication, FaultProxy],
) -> None:
    gateway, proxy = behind
    async with forebay.aio.Client(gateway.gateway) as client:
        await until_answered(client)
        proxy.refuse = True
        proxy.reset()
        await asyncio.sleep(0.05)
        with pytest.raises(forebay.Unavailable):
            await client.predict("items_for_user", user_id=2, timeout_s=1.0)
        assert "can't be read" in await asyncio.to_thread(pending_error, gateway)
        proxy.refuse = False
        assert len(await until_answered(client)) == 5
        await asyncio.to_thread(until_nothing_is_pending, gateway)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_black_hole_is_noticed_and_the_socket_replaced(
    behind: tuple[ServedApplication, FaultProxy],
) -> None:
    gateway, proxy = behind
    async with forebay.aio.Client(gateway.gateway) as client:
        await until_answered(client)
        proxy.black_hole = True
        connections = proxy.accepted_count
        async with asyncio.timeout(LONG_S):
            while proxy.accepted_count == connections:
                with pytest.raises((forebay.DeadlineExceeded, forebay.Unavailable)):
                    await client.predict("items_for_user", user_id=2, timeout_s=0.05)
        proxy.black_hole = False
        assert len(await until_answered(client)) == 5


@pytest.mark.asyncio(loop_scope="module")
async def test_half_of_the_calls_hang_up_and_the_others_get_their_own_answer(
    behind: tuple[ServedApplication, FaultProxy],
) -> None:
    gateway, _ = behind
    # Patient, since a busy machine may be too slow for so many at once.
    patient = forebay.Retry(attempts=100, budget=100)
    async with forebay.aio.Client(gateway.gateway, retry=patient) as client:
        alone = {user: await until_answered(client, user) for user in (1, 2, 3, 4)}
        calls = [
            asyncio.create_task(client.predict("items_for_user", user_id=1 + number % 4, timeout_s=LONG_S))
            for number in range(200)
        ]
        await asyncio.sleep(0.02)
        for call in calls[::2]:
            call.cancel()
        for number, call in enumerate(calls):
            if number % 2:
                theirs, ours = await call, alone[1 + number % 4]
                assert [item.entity for item in theirs] == [item.entity for item in ours]
        await asyncio.gather(*calls, return_exceptions=True)
        assert len(await until_answered(client)) == 5


def free_address() -> str:
    """Return an address that nobody listens at: the gateway says where it serves only when it is ready."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


async def test_the_gateway_binds_and_waits_while_redis_is_down(
    store: tuple[TemporaryStore, Path], proxy: FaultProxy
) -> None:
    proxy.refuse = True
    address = free_address()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli.main", "serve", "--app", "tiny", "--bind", address),
        *("--admin", "127.0.0.1:0"),
        cwd=store[1],
        env={**environment(), "FOREBAY_REDIS_URL": proxy.url, "FOREBAY_REGISTRY__POLL_S": "0.1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with grpc.aio.insecure_channel(address) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            request = health_pb2.HealthCheckRequest()
            found = await health.Check(request, timeout=30, wait_for_ready=True)
            assert found.status == health_pb2.HealthCheckResponse.NOT_SERVING
            async with forebay.aio.Client(address) as client:
                with pytest.raises(forebay.Unavailable):
                    await client.predict("items_for_user", user_id=2, timeout_s=2.0)
            proxy.refuse = False
            line = await asyncio.wait_for(process.stdout.readline(), 30)
            assert line.startswith(f"ready gateway={address} ".encode())
            found = await health.Check(request, timeout=5)
            assert found.status == health_pb2.HealthCheckResponse.SERVING
    finally:
        process.send_signal(signal.SIGTERM)
        await process.communicate()
    assert process.returncode == 0


def test_an_application_that_was_never_applied_is_exit_1(store: tuple[TemporaryStore, Path]) -> None:
    anywhere = ("--bind", "127.0.0.1:0", "--admin", "127.0.0.1:0")
    ended = run(store[1], store[0].url, "serve", "--app", "nobody", *anywhere)
    assert ended.returncode == 1
    assert "nobody" in ended.stderr
    assert "forebay apply" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_broken_index_or_model_is_refused_and_the_old_one_serves(
    store: tuple[TemporaryStore, Path],
) -> None:
    directory = store[1]
    with served(directory, store[0].url, "tiny") as gateway, forebay.Client(gateway.gateway) as client:
        before = client.predict("items_for_user", user_id=2, timeout_s=5.0)
        built = gateway.forebay("index", "build", "items", "--no-publish", "--app", "tiny", "--json")
        assert built.returncode == 0, built.stderr
        versions = directory / ".forebay/artifacts/tiny/indexes/items"
        version = max(versions.glob("[0-9]*"), key=lambda path: int(path.name))
        file = version / "index.faiss"
        file.chmod(0o644)
        os.truncate(file, file.stat().st_size // 2)
        published = gateway.forebay("index", "publish", "items", version.name, "--app", "tiny")
        if published.returncode == 0:
            reason = pending_error(gateway)
            assert "items" in reason
            gateway.forebay("index", "rollback", "items", "--app", "tiny")
        else:
            assert "items" in published.stderr
        after = client.predict("items_for_user", user_id=2, timeout_s=5.0)
        assert after.provenance.index_version == before.provenance.index_version

        application = directory / "app/tiny.yaml"
        text = application.read_text()
        application.write_text(text.replace("metric: inner_product", "metric: l2"))
        assert gateway.forebay("apply", str(application)).returncode == 0
        assert "was built for the metric inner_product, and l2 is declared" in pending_error(gateway)
        application.write_text(text)
        assert gateway.forebay("apply", str(application)).returncode == 0
        until_nothing_is_pending(gateway)

        write_linear_model(directory / "app/models/ranker/2/model.onnx", WEIGHTS["risk"][:3])
        applied = gateway.forebay("apply", str(application), "--set-traffic")
        if applied.returncode == 0:
            assert "ranker" in pending_error(gateway)
        after = client.predict("items_for_user", user_id=2, timeout_s=5.0)
        assert after.provenance.model_version == "1"


def pending_error(gateway: ServedApplication) -> str:
    """Return why the newest release isn't served, once the gateway has tried it."""
    return next((error for error in pending_errors(gateway) if error), "")


def until_nothing_is_pending(gateway: ServedApplication) -> None:
    """Wait until the gateway reports no error of its release."""
    assert "" in pending_errors(gateway)


def pending_errors(gateway: ServedApplication) -> Iterator[str]:
    """Yield what the gateway says, every twentieth of a second for as long as a busy machine may need."""
    with grpc.insecure_channel(gateway.admin) as channel:
        describe = channel.unary_unary("/forebay.v1.AdminService/DescribeServer", None, None)
        for _ in range(round(LONG_S / 0.05)):
            yield admin_pb2.DescribeServerResponse.FromString(describe(b"", timeout=5)).pending_release_error
            time.sleep(0.05)
