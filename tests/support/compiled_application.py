"""A release compiled over `MemoryStore`: the request path without sockets, on a manual clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from forebay.deadline import Deadline
from forebay.v1 import values_pb2 as pb

from feature_store.codec import RowEncoder
from feature_store.keys import canonical_texts
from feature_store.memory_store import MemoryStore
from gateway.admit import PredictRequest
from gateway.batch import Answer, Recalled
from gateway.compile import compile_release
from gateway.plan import CompiledRelease
from gateway.predict import Predictor
from gateway.shelf import Shelf
from registry.application_file import parse_application
from registry.columns import ColumnData
from registry.definitions import Application
from registry.evolution import next_ids
from registry.plan import NO_IDS, Plan
from registry.release import Release
from runtime.batcher import Criticality
from runtime.clock import ManualClock
from runtime.engine_settings import AnnIndexSettings, OnnxSettings
from runtime.offload import Offload
from tests.support.tiny_application import write_linear_model

HOUR_US = 3_600_000_000

YAML = """\
app: rules
entities: {user: {key: {user_id: int64}}}
sources: {users: {parquet: users.parquet}}
views:
  profile:
    entity: user
    batch: {source: users}
    max_age: 1h
    features: {age: {dtype: float32, default: 40}, income: float32, children: int32}
  now:
    entity: user
    max_age: 1h
    features: {clicks: {dtype: float32, default: 3}}
models:
  plain: {repository: models, inputs: {x: [profile.age, profile.income, now.clicks]}, outputs: {score: y}}
pipelines:
"""
PIPELINE = (
    "  {name}: {{entities: [user], hydrate: [profile, now], predict: plain, degrade: {{hydrate: {rules}}}}}\n"
)
RULES = {
    "no_rule": "{}",
    "defaults": "{profile: defaults, now: defaults}",
    "stale": "{profile: stale, now: stale}",
    "fail": "{profile: fail, now: fail}",
}


@dataclass
class CompiledApplication:
    """What a test needs to write rows and to predict."""

    store: MemoryStore
    clock: ManualClock
    release: CompiledRelease
    as_of_us: int
    predictor: Predictor = field(init=False)

    def __post_init__(self) -> None:
        offload = Offload(self.clock, threads=1, inline_below_s=1.0)
        self.predictor = Predictor(self.store, offload, self.clock)

    async def write(
        self, view: str, user_id: int, *, written_us: int | None = None, **features: float | None
    ) -> None:
        """Store one user's row; None is null."""
        reader = self.release.reader(view)
        columns = {
            name: ColumnData(
                np.array([np.nan if value is None else value], feature.dtype.scalar.numpy)
                if feature.dtype.scalar.is_float
                else np.array([value or 0], feature.dtype.scalar.numpy),
                np.array([value is None]),
            )
            for name, feature in reader.features.items()
            for value in [features.get(name)]
        }
        time_us = self.clock.now_us() if written_us is None else written_us
        rows = RowEncoder(reader.view.schema).encode(columns, np.array([time_us]), time_us)
        await self.store.load_many(reader.row_keys(canonical_texts(reader.view.key, [[user_id]])), rows)

    async def corrupt(self, view: str, user_id: int) -> None:
        """Store bytes that are no row."""
        reader = self.release.reader(view)
        await self.store.load_many(reader.row_keys([str(user_id)]), [b"\x01\x00garbage, and not a row"])

    async def predict(
        self,
        pipeline: str,
        user_id: int = 1,
        *,
        timeout_s: float = 1.0,
        inputs: Mapping[str, pb.Value] | None = None,
        return_features: Sequence[str] = (),
    ) -> Answer:
        """Run one request through the eight steps."""
        answer = await self.ask(
            pipeline, user_id, timeout_s=timeout_s, inputs=inputs, return_features=return_features
        )
        assert isinstance(answer, Answer)
        return answer

    async def ask(
        self,
        pipeline: str,
        user_id: int = 1,
        *,
        timeout_s: float = 1.0,
        inputs: Mapping[str, pb.Value] | None = None,
        return_features: Sequence[str] = (),
    ) -> Answer | Recalled:
        """Return what one request gets, made now or kept."""
        now_s = self.clock.monotonic_s()
        return await self.predictor.predict(
            PredictRequest(
                pipeline=self.release.pipeline(pipeline),
                criticality=Criticality.DEFAULT,
                inputs={"user_id": pb.Value(int64_value=user_id), **(inputs or {})},
                candidates=(),
                top=None,
                return_features=return_features,
                deadline=Deadline.after(timeout_s, now_s),
                admitted_s=now_s,
                trace_id="",
                stages=[],
            )
        )


def compiled_application(directory: Path, clock: ManualClock, pipelines: str = "") -> CompiledApplication:
    """Compile the application, its swap view as of now; `pipelines` are lines to add to its own."""
    text = YAML + "".join(PIPELINE.format(name=name, rules=rules) for name, rules in RULES.items())
    application, _ = parse_application((text + pipelines).encode())
    write_linear_model(directory / "models/plain/1/model.onnx", [1.0, 10.0, 100.0])
    plan = _plan(application, directory)
    release = (
        Release(1, "rules", 1)
        .with_view("profile", 1, as_of_us=clock.now_us())
        .with_view("now", 1)
        .with_model("plain", "1")
    )
    shelf = Shelf("rules", directory / "artifacts", directory, AnnIndexSettings(), OnnxSettings())
    compiled = compile_release(plan, release, shelf)
    return CompiledApplication(MemoryStore(clock), clock, compiled, clock.now_us())


def _plan(application: Application, directory: Path) -> Plan:
    views = {name: number for number, name in enumerate(application.views, 1)}
    ids = next_ids(NO_IDS, application, {"user": 1}, views)
    return Plan(1, "rules", application, str(directory), ids)
