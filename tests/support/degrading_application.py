"""Pipelines under every rule of degradation, compiled over engines that can be made to fail."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from forebay import _pack
from forebay.deadline import Deadline

from ann_index.snapshot import SnapshotSpec, build_snapshot, index_directory
from ann_index.types import Metric
from feature_store.codec import RowEncoder
from feature_store.keys import canonical_texts
from gateway.admission import Admission
from gateway.admit import PredictRequest
from gateway.batch import Answer, Recalled
from gateway.compile import compile_release
from gateway.plan import CompiledPipeline, CompiledRelease, FallbackCandidates, RetrieveStep
from gateway.predict import Predictor
from gateway.recall import Recall
from gateway.shelf import Shelf
from registry.application_file import parse_application
from registry.columns import ColumnData
from registry.definitions import Application
from registry.dtypes import Scalar
from registry.evolution import next_ids
from registry.plan import NO_IDS, Plan
from registry.release import Release
from runtime.admission_settings import AdmissionSettings
from runtime.batcher import Criticality
from runtime.clock import Clock, ManualClock
from runtime.engine_settings import AnnIndexSettings, OnnxSettings
from runtime.offload import Offload
from tests.support.faulty_engines import FaultyRunner, FaultyStore, WatchedIndex
from tests.support.snapshots import QUICK
from tests.support.tiny_application import write_linear_model

ITEMS = 5
FALLBACK_ITEMS = (4, 2, 9)
"""The fallback candidates, best first; 9 has no row."""

YAML = """\
app: degrading
entities: {user: {key: {user_id: int64}}, item: {key: {item_id: int64}}}
views:
  taste: {entity: user, max_age: 10h, features: {vector: {dtype: "float32[2]", space: s}, age: float32}}
  item: {entity: item, features: {price: float32, rating: float32, vector: {dtype: "float32[2]", space: s}}}
  trend: {entity: item, max_age: 1h, features: {clicks: {dtype: float32, default: 3}}}
indexes: {items: {entity: item, vector: item.vector, metric: inner_product}}
models:
  ranker: {repository: models, inputs: {x: [item.price, trend.clicks]}, outputs: {score: y}}
  rater: {repository: models, inputs: {x: [taste.age]}, outputs: {score: y}}
pipelines:
  items:
    entities: [user]
    hydrate: [taste]
    retrieve: {index: items, query: taste.vector, k: 3}
    hydrate_candidates: [item, trend]
    predict: ranker
    select: {top: 10}
    BUDGET
    degrade: DEGRADE
  rating:
    entities: [user]
    hydrate: [taste]
    predict: rater
    BUDGET_ONE
    degrade: DEGRADE_ONE
"""


@dataclass
class DegradingApplication:
    """What a test needs to break something, and to predict."""

    store: FaultyStore
    clock: Clock
    release: CompiledRelease
    runners: dict[str, FaultyRunner]
    before_search: Callable[[], None] = lambda: None
    inline_below_s: float = 1.0
    admission: AdmissionSettings = field(default_factory=AdmissionSettings)
    others: asyncio.Task[Any] | None = None
    ended: threading.Event = field(default_factory=threading.Event)
    predictor: Predictor = field(init=False)

    def __post_init__(self) -> None:
        self.make_predictor()

    def make_predictor(self, recall: Recall | None = None) -> None:
        """Make what answers, by the settings of now."""
        self.offload = Offload(self.clock, threads=2, inline_below_s=self.inline_below_s)
        admission = Admission(self.admission, self.clock)
        self.predictor = Predictor(self.store, self.offload, self.clock, recall=recall, admission=admission)

    def search_begins(self) -> None:
        """Do what is to be done before a search."""
        self.before_search()

    async def finish(self) -> None:
        """Wait for the other requests, and let the threads end; `ended` tells them."""
        self.ended.set()
        if self.others is not None:
            await self.others
        await self.predictor.aclose()
        self.offload.close()

    async def write(self, view: str, keys: Sequence[int], **columns: Sequence[Any]) -> None:
        """Store rows, a column per feature that is given; others are null."""
        reader = self.release.reader(view)
        data = {}
        for name, feature in reader.features.items():
            absent = np.full((len(keys), feature.dtype.length or 1), np.nan, np.float32)
            values = np.asarray(columns.get(name, absent if feature.dtype.is_list else absent[:, 0]))
            data[name] = ColumnData(values.astype(np.float32), None)
        now_us = self.clock.now_us()
        rows = RowEncoder(reader.view.schema).encode(data, np.full(len(keys), now_us), now_us)
        await self.store.load_many(reader.row_keys(canonical_texts(reader.view.key, [list(keys)])), rows)

    async def write_everything(self) -> None:
        """Store two users and every item: of user 1 the items 5, 4, 3 are the nearest, of user 2 1, 2, 3."""
        items = list(range(1, ITEMS + 1))
        await self.write("taste", [1, 2], vector=[[1, 0], [-1, 0]], age=[30, 40])
        await self.write("item", items, price=items, rating=[10 * item for item in items])
        await self.write("trend", items, clicks=[100 * item for item in items])

    def admitted(self, pipeline: str = "items", user_id: int = 1, timeout_s: float = 1.0) -> PredictRequest:
        """Return a request that has just come in."""
        now_s = self.clock.monotonic_s()
        compiled: CompiledPipeline = self.release.pipeline(pipeline)
        return PredictRequest(
            pipeline=compiled,
            criticality=Criticality.DEFAULT,
            inputs={"user_id": _pack.value(user_id, "user_id")},
            candidates=(),
            top=None,
            return_features=(),
            deadline=Deadline.after(timeout_s, now_s),
            admitted_s=now_s,
            trace_id="",
            stages=[],
        )

    async def predict(
        self, pipeline: str = "items", user_id: int = 1, timeout_s: float = 1.0
    ) -> Answer | Recalled:
        """Run one request through the eight steps."""
        return await self.predictor.predict(self.admitted(pipeline, user_id, timeout_s))


def told(answer: Answer | Recalled) -> set[tuple[str, str, str, str]]:
    """Return what the answer does without: (stage, subject, reason, action)."""
    return {(part.stage, part.subject, part.reason, part.action) for part in answer.member.degradations}


def degrading_application(
    directory: Path,
    clock: Clock,
    *,
    degrade: str = "{}",
    degrade_one: str = "{}",
    budget: str = "",
    budget_one: str | None = None,
    fallback: bool = False,
    watched_index: bool = False,
) -> DegradingApplication:
    """Compile the application with these rules, and with fallback candidates where asked for."""
    text = YAML.replace("DEGRADE_ONE", degrade_one).replace("DEGRADE", degrade)
    text = text.replace("BUDGET_ONE", budget if budget_one is None else budget_one).replace("BUDGET", budget)
    application, _ = parse_application(text.encode())
    release = Release(1, "degrading", 1).with_index("items", "1")
    release = release.with_model("ranker", "1").with_model("rater", "1")
    for view in application.views:
        release = release.with_view(view, 1)
    if not (directory / "models").exists():
        _build(directory)
    shelf = Shelf("degrading", directory / "artifacts", directory, AnnIndexSettings(), OnnxSettings())
    compiled = compile_release(_plan(application, directory), release, shelf)
    assert not compiled.broken_pipelines, compiled.broken_pipelines
    runners, pipelines = {}, {}
    for name, pipeline in compiled.pipelines.items():
        runners[name] = runner = FaultyRunner(pipeline.predict.runner)
        predict = replace(pipeline.predict, runner=runner)
        predict.estimate.observe(1e-6, 1)
        if pipeline.retrieve is not None:
            pipeline.retrieve.estimate.observe(1e-6, 1)
        items = np.array(FALLBACK_ITEMS)
        candidates = FallbackCandidates([str(item) for item in FALLBACK_ITEMS], {"item_id": items})
        pipelines[name] = replace(
            pipeline,
            predict=predict,
            retrieve_fallback=candidates if fallback and pipeline.retrieve is not None else None,
        )
    compiled = replace(compiled, pipelines=pipelines)
    made = DegradingApplication(FaultyStore(clock), clock, compiled, runners)
    if watched_index:
        pipelines["items"] = _with_watched_index(pipelines["items"], made)
    return made


def _with_watched_index(pipeline: CompiledPipeline, application: DegradingApplication) -> CompiledPipeline:
    assert pipeline.retrieve is not None
    (search,) = pipeline.retrieve.searches
    index = WatchedIndex(search.snapshot.index, application.search_begins)
    slow = replace(search, snapshot=replace(search.snapshot, index=cast(Any, index)))
    retrieve = RetrieveStep((slow,), pipeline.retrieve.estimate)
    return replace(pipeline, retrieve=retrieve)


def _build(directory: Path) -> None:
    for model, weights in {"ranker": [1.0, 1.0], "rater": [1.0]}.items():
        write_linear_model(directory / "models" / model / "1" / "model.onnx", weights)
    spec = SnapshotSpec("1", Metric.INNER_PRODUCT, "item", "item_id", Scalar.INT64, "s")
    target = index_directory(directory / "artifacts", "degrading", "items")
    items = list(range(1, ITEMS + 1))
    vectors = np.array([[item, 0] for item in items], np.float32)
    build_snapshot(target, spec, items, vectors, clock=ManualClock(), settings=QUICK)


def _plan(application: Application, directory: Path) -> Plan:
    entities = {name: number for number, name in enumerate(application.entities, 1)}
    views = {name: number for number, name in enumerate(application.views, 1)}
    return Plan(1, "degrading", application, str(directory), next_ids(NO_IDS, application, entities, views))
