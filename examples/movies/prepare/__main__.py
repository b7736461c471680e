"""`python -m examples.movies.prepare` makes the movie application's data and model."""

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path

from examples.movies.prepare.preparation import APPLICATION, prepare


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Make the movie application's data and model from MovieLens."
    )
    parser.add_argument("--now", default=None, help="ISO time the ratings end a minute before (default: now)")
    parser.add_argument(
        "--out", type=Path, default=APPLICATION, help="directory to fill (default: the example)"
    )
    parser.add_argument(
        "--validation", action="store_true", help="hold out a part of the training ratings instead"
    )
    options = parser.parse_args()
    now = datetime.now(UTC) if options.now is None else datetime.fromisoformat(options.now)
    if now.tzinfo is None:
        now = now.replace(tzinfo=UTC)
    prepared = prepare(options.out, int(now.timestamp() * 1_000_000), _say, validation=options.validation)
    _say("\n".join(prepared.lines()))


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
