"""A release of pipelines of every kind, compiled over `MemoryStore`: several entities, mixed keys, merged
retrieves, conditions and orders. Its models add up what they are given, so that a test can say the scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from forebay import _pack
from forebay.deadline import Deadline

from ann_index.snapshot import SnapshotSpec, build_snapshot, index_directory
from ann_index.types import Metric
from feature_store.codec import RowEncoder
from feature_store.keys import canonical_texts
from feature_store.memory_store import MemoryStore
from gateway.admit import PredictRequest
from gateway.batch import Answer
from gateway.compile import compile_release
from gateway.shelf import Shelf
from registry.application_file import parse_application
from registry.columns import ColumnData, VariableLists
from registry.definitions import Application
from registry.dtypes import DType, Scalar
from registry.evolution import next_ids
from registry.plan import NO_IDS, Plan
from registry.release import Release
from runtime.batcher import Criticality
from runtime.clock import ManualClock
from runtime.engine_settings import AnnIndexSettings, OnnxSettings
from tests.support.compiled_application import CompiledApplication
from tests.support.snapshots import QUICK
from tests.support.tiny_application import write_linear_model

YAML = """\
app: pipelines
entities:
  user: {key: {user_id: int64}}
  shop: {key: {shop: string}}
  visit: {key: {shop: string, user_id: int64}}
  item: {key: {item_id: int64}}
  song: {key: {song: string}}
  affinity: {key: {item_id: int64, user_id: int64}}
  offer: {key: {item_id: int64, seller: string}}
  deal: {key: {seller: string, user_id: int64, item_id: int64}}
views:
  user_view:
    entity: user
    max_age: 1h
    features:
      age: float32
      country: string
      taste: {dtype: "float32[2]", space: taste}
      mood: {dtype: "float32[2]", space: taste}
      tune: "float32[2]"
      hum: "float32[2]"
      seen: "int64[]"
      hidden: "int64[]"
  shop_view: {entity: shop, features: {size: float32}}
  visit_view: {entity: visit, features: {visits: float32}}
  item_view:
    entity: item
    max_age: 1h
    features:
      price: float32
      stock: {dtype: int64, default: 7}
      kind: string
      brand: {dtype: string, default: own}
      added: timestamp
      live: bool
      weight: float64
      vector: {dtype: "float32[2]", space: taste}
      angle: {dtype: "float32[2]", space: taste}
  song_view: {entity: song, features: {length: float32, tune: "float32[2]"}}
  affinity_view: {entity: affinity, features: {fondness: {dtype: float32, default: -1}}}
  offer_view: {entity: offer, features: {rebate: float32}}
  deal_view: {entity: deal, features: {bonus: float32}}
indexes:
  vectors: {entity: item, vector: item_view.vector, metric: inner_product}
  angles: {entity: item, vector: item_view.angle, metric: cosine}
  songs: {entity: song, vector: song_view.tune, metric: l2}
  tunes: {entity: song, vector: song_view.tune, metric: l2}
models:
  visits:
    repository: models
    inputs: {x: [user_view.age, shop_view.size, visit_view.visits]}
    outputs: {score: y}
  prices: {repository: models, inputs: {x: [item_view.price]}, outputs: {score: y}}
  found: {repository: models, inputs: {x: [retrieve.score]}, outputs: {score: y}}
  fond: {repository: models, inputs: {x: [affinity_view.fondness]}, outputs: {score: y}}
  deals:
    repository: models
    inputs: {x: [item_view.price, offer_view.rebate, deal_view.bonus]}
    outputs: {score: y}
pipelines:
  visit_of_user:
    entities: [user, shop, visit]
    hydrate: [user_view, shop_view, visit_view]
    predict: visits
  fond_items:
    entities: [user]
    hydrate: [user_view]
    retrieve: {index: vectors, query: user_view.taste, k: 3}
    hydrate_candidates: [item_view, affinity_view]
    predict: fond
  known_items:
    entities: [user]
    candidates: request
    hydrate_candidates: [item_view, {view: affinity_view, required: true}]
    predict: fond
  deals_of_user:
    entities: [user]
    candidates: request
    hydrate_candidates: [offer_view, item_view, deal_view]
    predict: deals
  merged_items:
    entities: [user]
    hydrate: [user_view]
    retrieve:
      - {index: vectors, query: user_view.taste, k: 3, exclude: user_view.seen}
      - {index: angles, query: user_view.mood, k: 2, exclude: user_view.hidden}
    predict: found
  merged_songs:
    entities: [user]
    hydrate: [user_view]
    retrieve:
      - {index: songs, query: user_view.tune, k: 2}
      - {index: tunes, query: user_view.hum, k: 2}
    predict: found
  filtered_items:
    entities: [user]
    hydrate: [user_view]
    candidates: request
    hydrate_candidates: [item_view]
    predict: prices
    select: {top: 3, where: WHERE, by: BY}
  spare_items:
    entities: [user]
    candidates: request
    hydrate_candidates: [item_view]
    predict: prices
    select: {where: {item_view.price: {gte: 0}}}
    degrade: {hydrate_candidates: {item_view: defaults}}
  merged_and_filtered:
    entities: [user]
    hydrate: [user_view]
    retrieve:
      - {index: vectors, query: user_view.taste, k: 3, exclude: user_view.seen}
      - {index: angles, query: user_view.mood, k: 2, exclude: user_view.hidden}
    hydrate_candidates: [{view: item_view, required: true}, {view: affinity_view, required: true}]
    predict: fond
    select: {top: 4, by: retrieve.score, where: {item_view.live: {eq: true}, item_view.kind: {ne: car}}}
  nearest_items:
    entities: [user]
    hydrate: [user_view]
    retrieve: {index: vectors, query: user_view.taste, k: 4}
    hydrate_candidates: [item_view]
    predict: prices
    select: {by: retrieve.score}
"""

Rows = tuple[Metric, Scalar, Sequence[int] | Sequence[str], Sequence[Sequence[float]]]
VECTORS: Mapping[str, Rows] = {
    "vectors": (Metric.INNER_PRODUCT, Scalar.INT64, [5, 1, 4, 2, 3], [[n, 0] for n in (5, 1, 4, 2, 3)]),
    "angles": (Metric.COSINE, Scalar.INT64, [9, 5, 1, 2], [[1, 1], [0, 1], [1, 0], [1, 0.1]]),
    "songs": (Metric.L2, Scalar.STRING, ["b:1", "a", "c"], [[0, 0], [1, 0], [5, 0]]),
    "tunes": (Metric.L2, Scalar.STRING, ["z", "a", "b:1"], [[0, 0], [0, 2], [9, 9]]),
}
"""Each index's metric, type of keys, keys, and their vectors."""


class PipelineApplication(CompiledApplication):
    """The release, and what a test needs to write rows of any key and to ask for candidates."""

    async def write_rows(self, view: str, **columns: Sequence[Any]) -> None:
        """Store rows: a column per key field, and of the features those that are given; None is null."""
        reader = self.release.reader(view)
        keys = [columns.pop(field.name) for field in reader.view.key]
        count = len(keys[0])
        data = {
            name: _column(feature.dtype, columns.pop(name, [None] * count))
            for name, feature in reader.features.items()
        }
        assert not columns, f"{view} has no {', '.join(columns)}"
        time_us = self.clock.now_us()
        rows = RowEncoder(reader.view.schema).encode(data, np.full(count, time_us), time_us)
        await self.store.load_many(reader.row_keys(canonical_texts(reader.view.key, keys)), rows)

    async def ask(
        self,
        pipeline: str,
        candidates: Mapping[str, Sequence[Any]] | None = None,
        *,
        top: int | None = None,
        return_features: Sequence[str] = (),
        **inputs: Any,
    ) -> Answer:
        """Run one request through the eight steps."""
        now_s = self.clock.monotonic_s()
        return await self.predictor.predict(
            PredictRequest(
                pipeline=self.release.pipeline(pipeline),
                criticality=Criticality.DEFAULT,
                inputs={name: _pack.value(value, name) for name, value in inputs.items()},
                candidates=[
                    _pack.column(name, values, None, name) for name, values in (candidates or {}).items()
                ],
                top=top,
                return_features=return_features,
                deadline=Deadline.after(1.0, now_s),
                admitted_s=now_s,
                trace_id="",
                stages=[],
            )
        )


def ranked(answer: Answer) -> list[Any]:
    """Return the keys of an answer's rows, in rank order; tuples where a key has several fields."""
    columns = [np.asarray(column.values, object).tolist() for column in answer.entities]
    return columns[0] if len(columns) == 1 else list(zip(*columns, strict=True))


def scores(answer: Answer) -> list[float]:
    """Return the score of each row, in rank order."""
    return np.asarray(answer.scores[0].values, float).tolist()


def told(answer: Answer) -> list[tuple[str, str, str, str, int]]:
    """Return what the answer says it does without."""
    return [
        (part.stage, part.subject, part.reason, part.action, part.count)
        for part in answer.member.degradations
    ]


def pipeline_application(
    directory: Path, clock: ManualClock, *, where: str = "{}", by: str = "score"
) -> PipelineApplication:
    """Compile the application; `where` and `by` are those of `filtered_items`."""
    application, _ = parse_application(YAML.replace("WHERE", where).replace("BY", by).encode())
    release = Release(1, "pipelines", 1)
    for name in application.views:
        release = release.with_view(name, 1)
    for name, model in application.models.items():
        write_linear_model(directory / "models" / name / "1" / "model.onnx", [1.0] * len(model.columns))
        release = release.with_model(name, "1")
    for name in application.indexes:
        _build(directory, application, name)
        release = release.with_index(name, "1")
    shelf = Shelf("pipelines", directory / "artifacts", directory, AnnIndexSettings(), OnnxSettings())
    compiled = compile_release(_plan(application, directory), release, shelf)
    assert not compiled.broken_pipelines, compiled.broken_pipelines
    return PipelineApplication(MemoryStore(clock), clock, compiled, clock.now_us())


def _build(directory: Path, application: Application, name: str) -> None:
    metric, dtype, keys, vectors = VECTORS[name]
    declared = application.indexes[name]
    (field,) = application.entities[declared.entity].key
    spec = SnapshotSpec("1", metric, declared.entity, field, dtype, application.space(declared.vector) or "")
    target = index_directory(directory / "artifacts", "pipelines", name)
    build_snapshot(target, spec, keys, np.array(vectors, np.float32), clock=ManualClock(), settings=QUICK)


def _plan(application: Application, directory: Path) -> Plan:
    entities = {name: number for number, name in enumerate(application.entities, 1)}
    views = {name: number for number, name in enumerate(application.views, 1)}
    ids = next_ids(NO_IDS, application, entities, views)
    return Plan(1, "pipelines", application, str(directory), ids)


def _column(dtype: DType, values: Sequence[Any]) -> ColumnData:
    nulls = np.array([value is None for value in values])
    if dtype.scalar is Scalar.STRING:
        return ColumnData(list(values))
    if dtype.is_variable_list:
        return ColumnData(VariableLists.of([value or [] for value in values], dtype.scalar.numpy), nulls)
    absent = [0] * dtype.length if dtype.is_list else 0
    filled = [absent if value is None else value for value in values]
    return ColumnData(np.array(filled, dtype.scalar.numpy), nulls)
