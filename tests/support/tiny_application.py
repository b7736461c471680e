"""A small application on disk, with everything the gateway serves: users with a taste vector, items in an
index, models whose scores a test can work out, and a view that is written in place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

USERS = 20
ITEMS = 60
DIMENSION = 4

YAML = """\
app: tiny
entities:
  user: {key: {user_id: int64}}
  item: {key: {item_id: int64}}
sources:
  users: {parquet: data/users.parquet}
  items: {parquet: data/items.parquet}
views:
  user_profile:
    entity: user
    batch: {source: users}
    max_age: 30d
    features:
      age: {dtype: float32, default: 40}
      taste: {dtype: "float32[4]", space: taste}
      seen: "int64[]"
      country: string
  item_profile:
    entity: item
    batch: {sql: "select item_id, price, stock, title, vector from items"}
    features:
      price: float32
      stock: {dtype: int32, default: 7}
      title: string
      vector: {dtype: "float32[4]", space: taste}
  item_now:
    entity: item
    features: {clicks: {dtype: int64, default: 0}, rate: float32}
    max_age: 1h
indexes:
  items: {entity: item, vector: item_profile.vector, metric: inner_product}
models:
  ranker:
    repository: models
    inputs:
      x:
        - user_profile.age
        - item_profile.price
        - item_profile.stock
        - item_now.clicks
        - request.hour
        - retrieve.score
    outputs: {score: y}
  risk:
    repository: models
    inputs: {x: [user_profile.age, user_profile.taste, request.amount]}
    outputs: {risk: y}
  rater:
    repository: models
    inputs: {x: [user_profile.age, item_profile.price, item_now.clicks]}
    outputs: {score: y}
pipelines:
  items_for_user:
    entities: [user]
    request: {hour: {dtype: float32, default: 12}}
    hydrate: [user_profile]
    retrieve: {index: items, query: user_profile.taste, k: 20, exclude: user_profile.seen}
    hydrate_candidates: [{view: item_profile, required: true}, item_now]
    predict: ranker
    select: {top: 5, by: score}
    budget: {total: 2s}
  risk_of_user:
    entities: [user]
    request: {amount: float32}
    hydrate: [user_profile]
    predict: risk
  rate_items:
    entities: [user]
    hydrate: [user_profile]
    candidates: request
    hydrate_candidates: [item_profile, item_now]
    predict: rater
    select: {top: 3, by: score}
  strict_risk:
    entities: [user]
    request: {amount: float32}
    hydrate: [user_profile]
    predict: risk
    degrade: {hydrate: {user_profile: fail}}
  hurried_items:
    entities: [user]
    hydrate: [user_profile]
    candidates: request
    hydrate_candidates: [item_profile, item_now]
    predict: rater
    budget: {total: 1us}
  patient_risk:
    entities: [user]
    request: {amount: float32}
    hydrate: [user_profile]
    predict: risk
    budget: {total: 2s, hydrate: 50ms}
    degrade: {hydrate: {user_profile: defaults}}
  cached_items:
    entities: [user]
    hydrate: [user_profile]
    retrieve: {index: items, query: user_profile.taste, k: 20, exclude: user_profile.seen}
    hydrate_candidates: [item_profile, item_now]
    predict: rater
    select: {top: 5, by: score}
    budget: {total: 2s}
    cache: {fresh: 60s, invalidate_on: [item_now]}
  cached_risk:
    entities: [user]
    request: {amount: float32}
    hydrate: [user_profile]
    predict: risk
    budget: {total: 2s}
    cache: {fresh: 200ms, stale: 60s, key: [user_id, {amount: {bin: 10}}]}
"""

WEIGHTS = {
    "ranker": [0.01, 0.1, 0.001, 0.5, 0.02, 1.0],
    "risk": [0.1, 1.0, 1.0, 1.0, 1.0, 0.01],
    "rater": [0.0, 1.0, 0.25],
}


@dataclass(frozen=True)
class TinyData:
    """What the application's files hold."""

    ages: NDArray[np.float32]
    tastes: NDArray[np.float32]
    seen: list[list[int]]
    prices: NDArray[np.float32]
    stocks: list[int | None]
    titles: list[str]
    vectors: NDArray[np.float32]


def tiny_data() -> TinyData:
    """Return the same data at every call. Users are 1 to 20, items 100 to 159; item 103 has no stock."""
    random = np.random.default_rng(7)
    return TinyData(
        ages=random.integers(18, 80, USERS).astype(np.float32),
        tastes=random.standard_normal((USERS, DIMENSION), np.float32),
        seen=[[100 + user, 101 + user] if user % 2 else [] for user in range(USERS)],
        prices=random.uniform(1, 9, ITEMS).astype(np.float32),
        stocks=[None if item == 3 else item for item in range(ITEMS)],
        titles=[f"item {100 + item} ü" for item in range(ITEMS)],
        vectors=random.standard_normal((ITEMS, DIMENSION), np.float32),
    )


def write_tiny_application(directory: Path) -> Path:
    """Write data, models and the application file; return the file."""
    data = tiny_data()
    (directory / "data").mkdir(parents=True)
    users = {
        "user_id": pa.array(range(1, USERS + 1), pa.int64()),
        "age": pa.array(data.ages),
        "taste": pa.array(data.tastes.tolist(), pa.list_(pa.float32(), DIMENSION)),
        "seen": pa.array(data.seen, pa.list_(pa.int64())),
        "country": pa.array(["de", "fr"] * (USERS // 2)),
    }
    items = {
        "item_id": pa.array(range(100, 100 + ITEMS), pa.int64()),
        "price": pa.array(data.prices),
        "stock": pa.array(data.stocks, pa.int32()),
        "title": pa.array(data.titles),
        "vector": pa.array(data.vectors.tolist(), pa.list_(pa.float32())),
    }
    pq.write_table(pa.table(users), directory / "data" / "users.parquet")
    pq.write_table(pa.table(items), directory / "data" / "items.parquet")
    for name, weights in WEIGHTS.items():
        write_linear_model(directory / "models" / name / "1" / "model.onnx", weights)
    file = directory / "tiny.yaml"
    file.write_text(YAML)
    return file


def write_linear_model(path: Path, weights: list[float]) -> None:
    """Write an ONNX model: y (rows, 1) = x (rows, width) times the weights."""
    matrix = numpy_helper.from_array(np.array(weights, np.float32).reshape(-1, 1), "weights")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "weights"], ["y"])],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, len(weights)])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])],
        [matrix],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path.parent.mkdir(parents=True)
    onnx.save(model, str(path))
