"""The load generator and the echo, as the bench runs them: real processes over loopback."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest

from benchmarks.load import read_requests, write_requests
from benchmarks.processes import ROOT, CommandFailed, Server, run

METHOD = "/forebay.v1.PredictionService/Predict"


@pytest.mark.parametrize("concurrency", [1, 32])
def test_every_call_is_answered_when_an_echo_is_loaded(tmp_path: Path, concurrency: int) -> None:
    requests = tmp_path / "requests"
    write_requests(requests, [bytes([number]) * 9_000 for number in range(50)])
    assert len(read_requests(requests)) == 50
    echo = [sys.executable, "-m", "benchmarks.echo_server", "--response-bytes", "40000"]
    with Server(echo, ROOT, tmp_path / "echo.log") as server:
        address, pid = server.line.split()[1], str(server.pid)
        load = [sys.executable, "-m", "benchmarks.load", "--address", address, "--path", METHOD]
        load += ["--requests", str(requests), "--concurrency", str(concurrency), "--watch", pid]
        report = json.loads(run([*load, "--seconds", "0.4", "--warmup", "0.1"], ROOT))
    assert report["calls"] > concurrency
    assert report["failures"] == 0
    assert report["response_bytes"] == 40_000
    assert len(report["watched_cpu_us_per_call"]) == 1


def test_what_a_server_says_is_told_when_it_ends_before_it_is_ready(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.echo_server"]
    with pytest.raises(CommandFailed, match="--response-bytes"), Server(command, ROOT, tmp_path / "log"):
        pass


def test_calls_are_made_when_they_are_due_and_counted_by_lane(tmp_path: Path) -> None:
    requests = tmp_path / "requests"
    write_requests(requests, [bytes([number]) * 30 for number in range(50)])
    echo = [sys.executable, "-m", "benchmarks.echo_server", "--response-bytes", "0"]
    with Server(echo, ROOT, tmp_path / "echo.log") as server:
        load = [sys.executable, "-m", "benchmarks.open_load", "--address", server.line.split()[1]]
        load += ["--path", METHOD, "--requests", str(requests), "--timeout-s", "5", "--inspect"]
        load += ["--lane", "critical:1", "--lane", "default:3", "--phase", "0.5:200", "--phase", "0.3:20"]
        report = json.loads(run(load, ROOT))
    busy, calm = report["phases"]
    assert busy["good"] == busy["offered"] == pytest.approx(100, abs=40)
    assert calm["good"] == calm["offered"] == pytest.approx(6, abs=6)
    assert busy["lanes"]["default"]["offered"] > busy["lanes"]["critical"]["offered"] > 0
    assert sum(step["offered"] for step in report["timeline"]) == busy["offered"] + calm["offered"]


def test_the_processes_of_a_server_are_known_when_it_has_started_some(tmp_path: Path) -> None:
    program = (
        "import subprocess, sys, time\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print('ready', flush=True)\ntime.sleep(60)\n"
    )
    with Server([sys.executable, "-c", program], ROOT, tmp_path / "log") as server:
        first, second = server.pids
        os.kill(second, signal.SIGKILL)
    assert first == server.pid


HTTP_SERVER = """
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "300")
        self.end_headers()
        self.wfile.write(bytes(300))
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(f"ready 127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
"""


def test_every_request_is_answered_when_an_http_server_is_loaded(tmp_path: Path) -> None:
    requests = tmp_path / "requests"
    write_requests(requests, [b'{"item_id": 1}', b'{"item_id": 22}'])
    with Server([sys.executable, "-c", HTTP_SERVER], ROOT, tmp_path / "log") as server:
        load = [sys.executable, "-m", "benchmarks.http_load", "--address", server.line.split()[1]]
        load += ["--path", "/rank", "--requests", str(requests), "--concurrency", "4"]
        load += ["--watch", str(server.pid), "--seconds", "0.3", "--warmup", "0.1"]
        report = json.loads(run(load, ROOT))
    assert report["calls"] > 4
    assert report["failures"] == 0
    assert report["response_bytes"] == 300
