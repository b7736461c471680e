"""Runs a command and prints the most memory that it had resident, in bytes: `python -m benchmarks.peak_memory
COMMAND...`. A process of its own, and a small one: the kernel counts what a process had before it became the
command as the command's.
"""

from __future__ import annotations

import resource
import subprocess
import sys

_UNIT_BYTES = 1 if sys.platform == "darwin" else 1024


def main() -> int:
    """Run it; return its exit code. What it prints goes to standard error."""
    ended = subprocess.run(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=sys.stderr, check=False)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    sys.stdout.write(str(peak * _UNIT_BYTES))
    return ended.returncode if ended.returncode >= 0 else 1


if __name__ == "__main__":
    sys.exit(main())
