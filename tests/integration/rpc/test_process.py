"""A process around a server: signals, drain, the garbage collector."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]

SERVER = """
import asyncio, gc, sys
from runtime.clock import SystemClock
from runtime.process import freeze_garbage, run
from runtime.recent import RecentRequests
from runtime.rpc.server import RpcServer
from runtime.settings import ServerSettings

async def main(stopping):
    server = RpcServer("127.0.0.1:0", ServerSettings(), SystemClock(), RecentRequests(1))
    address = await server.start()
    freeze_garbage()
    assert gc.get_freeze_count() > 0
    print("ready", address, flush=True)
    await stopping.wait()
    await server.drain()
    if "hang" in sys.argv:
        print("draining", flush=True)
        await asyncio.Event().wait()
    return 3

sys.exit(run(main))
"""


def start(*arguments: str) -> subprocess.Popen[str]:
    environment = {"PYTHONPATH": f"{ROOT}:{ROOT / 'sdk'}"}
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("ready 127.0.0.1:")
    return process


def complaints(errors: str) -> list[str]:
    """The lines on stderr, without gRPC's own note that the port was closed."""
    return [line for line in errors.splitlines() if "Closing acceptor" not in line]


def test_process_drains_and_exits_quietly_when_it_is_told_to_stop() -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        process = start()
        process.send_signal(number)
        _, errors = process.communicate(timeout=30)
        assert process.returncode == 3
        assert complaints(errors) == []


def test_process_stops_hard_when_it_is_told_twice() -> None:
    process = start("hang")
    process.send_signal(signal.SIGTERM)
    assert process.stdout is not None
    assert process.stdout.readline() == "draining\n"
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    assert complaints(errors) == []


def test_process_refuses_to_start_when_protobuf_is_pure_python() -> None:
    code = "from runtime.process import run\nrun(None)"
    environment = {
        "PYTHONPATH": f"{ROOT}:{ROOT / 'sdk'}",
        "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python",
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert "needs upb" in done.stderr


def test_openmp_has_one_thread_when_threads_is_imported_first() -> None:
    code = "import runtime.threads, os; print(os.environ['OMP_NUM_THREADS'])"
    for given, expected in (({}, "1"), ({"OMP_NUM_THREADS": "4"}, "4")):
        environment = {"PYTHONPATH": f"{ROOT}:{ROOT / 'sdk'}", **given}
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.stdout.strip() == expected
