"""The tiny application with pipelines that give precomputed answers, and commands run in this process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from redis import Redis

from cli import main
from tests.support.tiny_application import YAML, write_tiny_application

PIPELINES = """\
  first_items:
    entities: [user]
    request: {hour: {dtype: float32, default: 12}}
    hydrate: [user_profile]
    retrieve: {index: items, query: user_profile.taste, k: 20, exclude: user_profile.seen}
    hydrate_candidates: [{view: item_profile, required: true}]
    predict: hourly
    select: {top: 5, by: score}
    budget: {total: 2s}
    precomputed: first
  first_risk:
    entities: [user]
    request: {amount: float32}
    hydrate: [user_profile]
    predict: risk
    cache: {fresh: 5s, key: [user_id, {amount: {bin: 100}}]}
    precomputed: {mode: first, max_age: 1h}
  strict_first:
    entities: [user]
    request: {amount: float32}
    hydrate: [user_profile]
    predict: risk
    degrade: {hydrate: {user_profile: fail}}
    precomputed: first
  helped_items:
    entities: [user]
    request: {hour: {dtype: float32, default: 12}}
    hydrate: [user_profile]
    retrieve: {index: items, query: user_profile.taste, k: 20, exclude: user_profile.seen}
    hydrate_candidates: [{view: item_profile, required: true}]
    predict: hourly
    select: {top: 5, by: score}
    budget: {total: 2s, predict: 1us}
    degrade: {predict: [precomputed]}
    precomputed: fallback
  first_rated:
    entities: [user]
    hydrate: [user_profile]
    candidates: request
    hydrate_candidates: [item_profile, item_now]
    predict: rater
    precomputed: first
"""
MODEL = """\
  hourly:
    repository: models
    inputs: {x: [user_profile.age, item_profile.price, request.hour]}
    outputs: {score: y}
"""
BY_AGE = "select user_id from users order by age desc, user_id"


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it printed."""

    returncode: int
    stdout: str
    stderr: str


def write_precomputed_application(directory: Path) -> Path:
    """Write data, models and the application file; return the file."""
    file = write_tiny_application(directory)
    weights = directory / "models" / "hourly" / "1" / "model.onnx"
    weights.parent.mkdir(parents=True)
    weights.write_bytes((directory / "models" / "rater" / "1" / "model.onnx").read_bytes())
    file.write_text(YAML.replace("pipelines:\n", f"{MODEL}pipelines:\n", 1) + PIPELINES)
    return file


@dataclass(frozen=True)
class Commands:
    """Runs `forebay ...` in this process, in a directory, against a store. What it prints is returned where
    something captures it."""

    directory: Path
    redis_url: str
    capture: pytest.CaptureFixture[str] | None

    def __call__(self, *args: str) -> Ended:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.directory)
            patch.setenv("FOREBAY_REDIS_URL", self.redis_url)
            if self.capture is None:
                return Ended(main.run(args), "", "")
            self.capture.readouterr()
            return Ended(main.run(args), *self.capture.readouterr())


def stored_keys(redis_url: str) -> list[str]:
    """Return the keys of all precomputed answers."""
    with Redis.from_url(redis_url) as redis:
        return sorted(key.decode() for key in redis.scan_iter("p{*"))
