"""What is generated and committed is what the generators give now."""

import os
import subprocess
import sys
from pathlib import Path

from tests.support.source_files import CLEAN_PYTHON, ROOT


def test_stubs_are_fresh() -> None:
    check(CLEAN_PYTHON, "scripts/generate_protos.py")


def test_documents_are_fresh() -> None:
    check(Path(sys.executable), "scripts/generate_docs.py")


def check(python: Path, script: str) -> None:
    finished = subprocess.run(
        [python, script, "--check"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'sdk'}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
