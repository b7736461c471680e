"""Where and with what a run was made: a figure means nothing without. No names of hosts or people."""

from __future__ import annotations

import os
import platform
import timeit
from importlib.metadata import version
from pathlib import Path

from runtime.embedded_store import find_server_program

_PACKAGES = (
    "grpcio",
    "protobuf",
    "uvloop",
    "hiredis",
    "numpy",
    "faiss-cpu",
    "onnxruntime",
    "duckdb",
    "pyarrow",
)


def machine_facts() -> dict[str, str | int | float]:
    """Return the machine's facts."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cpu": _cpu_name(),
        "cpus": os.cpu_count() or 0,
        "memory_gb": round(pages / 2**30, 1),
        "python_10k_additions_us": _python_loop_us(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "load_average_1m": round(os.getloadavg()[0], 2),
    }


def versions() -> dict[str, str]:
    """Return the versions of what is measured."""
    found = {name: version(name) for name in _PACKAGES}
    return {"python": platform.python_version(), **found, "store": Path(find_server_program()).name}


def _python_loop_us() -> float:
    """Return what ten thousand additions take: how fast this interpreter is here and now.

    gRPC, FAISS and the store don't slow down with it, so the ratios depend on it too.
    """
    return round(min(timeit.repeat("for i in range(10_000): x += i", "x = 0", number=1, repeat=50)) * 1e6, 1)


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except FileNotFoundError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
