"""A refresh takes the same memory however many rows its source has."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from runtime.embedded_store import TemporaryStore
from tests.support.served_application import environment
from tests.support.wide_application import WideApplication

FEW, MANY = 50_000, 500_000
MOST_GROWTH_MB = 80
"""Ten times the rows. All of them at once would be 250 MB: 93 bytes of row, a key, two Python objects each,
and their columns."""

MEASURED = """
import resource, sys
from cli.main import run
code = run(["refresh", "run", "--app", "wide", "--allow-shrink"])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
sys.exit(code)
"""


def refreshed_mb(wide: WideApplication) -> float:
    """Refresh, and return the most memory that the process ever had."""
    ended = subprocess.run(
        [sys.executable, "-c", MEASURED],
        cwd=wide.directory,
        env={
            **environment(),
            "FOREBAY_REDIS_URL": wide.redis_url,
            "FOREBAY_REFRESH__ENGINE_MEMORY_BYTES": str(256 << 20),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return int(ended.stderr.split()[-1]) / 1024


@pytest.mark.slow
def test_memory_stays_when_the_source_has_ten_times_the_rows(tmp_path: Path) -> None:
    with TemporaryStore() as store:
        wide = WideApplication(tmp_path, store.url)
        wide.write(FEW)
        wide.apply()
        few_mb = refreshed_mb(wide)
        wide.write(MANY)
        many_mb = refreshed_mb(wide)
    assert many_mb < few_mb + MOST_GROWTH_MB, f"{few_mb:.0f} MB, then {many_mb:.0f} MB"
