"""An application whose pipelines use what the tiny one doesn't: several entities, a view of users and items
at once, two indexes that are searched together, conditions, and an order by a feature."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tests.support.tiny_application import write_linear_model

USERS = 8
ITEMS = 50
DIMENSION = 4
KINDS = ("book", "toy", "car")

YAML = """\
app: market
entities:
  user: {key: {user_id: int64}}
  shop: {key: {shop: string}}
  item: {key: {item_id: int64}}
  affinity: {key: {user_id: int64, item_id: int64}}
  offer: {key: {seller: string, item_id: int64}}
sources:
  users: {parquet: data/users.parquet}
  shops: {parquet: data/shops.parquet}
  items: {parquet: data/items.parquet}
  affinities: {parquet: data/affinities.parquet}
  offers: {parquet: data/offers.parquet}
views:
  users:
    entity: user
    batch: {source: users}
    features:
      age: float32
      taste: {dtype: "float32[4]", space: taste}
      style: {dtype: "float32[4]", space: style}
  shops: {entity: shop, batch: {source: shops}, features: {cheapest: float32}}
  items:
    entity: item
    batch: {source: items}
    features:
      price: float32
      kind: string
      added: timestamp
      taste: {dtype: "float32[4]", space: taste}
      style: {dtype: "float32[4]", space: style}
  affinities:
    entity: affinity
    batch: {source: affinities}
    features: {fondness: {dtype: float32, default: 0}}
  offers: {entity: offer, batch: {source: offers}, features: {rebate: float32}}
indexes:
  tastes: {entity: item, vector: items.taste, metric: inner_product}
  styles: {entity: item, vector: items.style, metric: cosine}
models:
  ranker:
    repository: models
    inputs: {x: [users.age, shops.cheapest, items.price, affinities.fondness, retrieve.score]}
    outputs: {score: y}
  bargain:
    repository: models
    inputs: {x: [items.price, offers.rebate, affinities.fondness]}
    outputs: {score: y}
pipelines:
  items_for_visitor:
    entities: [user, shop]
    hydrate: [users, shops]
    retrieve:
      - {index: tastes, query: users.taste, k: 15}
      - {index: styles, query: users.style, k: 10}
    hydrate_candidates: [{view: items, required: true}, affinities]
    predict: ranker
    select:
      top: 6
      by: score
      where: {items.kind: {in: [book, toy]}, items.price: {gt: 2}, users.age: {lt: 60}}
    degrade: {hydrate_candidates: {affinities: defaults}}
    budget: {total: 2s}
  newest_items:
    entities: [user, shop]
    hydrate: [users, shops]
    retrieve: {index: tastes, query: users.taste, k: 12}
    hydrate_candidates: [items, affinities]
    predict: ranker
    select: {top: 4, by: items.added}
    budget: {total: 2s}
  rank_offers:
    entities: [user]
    candidates: request
    hydrate_candidates: [{view: offers, required: true}, items, affinities]
    predict: bargain
    budget: {total: 2s}
"""

WEIGHTS = [0.01, 0.1, 0.5, 1.0, 2.0]


@dataclass(frozen=True)
class MarketData:
    """What the application's files hold: users 1 to 8, items 100 to 149, shops a and b."""

    ages: NDArray[np.float32]
    user_vectors: NDArray[np.float32]  # (users, 2, 4): taste and style
    prices: NDArray[np.float32]
    kinds: list[str]
    added_us: NDArray[np.int64]
    item_vectors: NDArray[np.float32]  # (2, items, 4)
    fondness: NDArray[np.float32]  # (users, items), NaN where there is no row
    cheapest: dict[str, float]
    rebates: dict[tuple[str, int], float]  # by seller and item


def market_data() -> MarketData:
    """Return the same data at every call. User 7 has no style, user 8 no vector at all; 6 is too old."""
    random = np.random.default_rng(11)
    fondness = random.uniform(0, 5, (USERS, ITEMS)).astype(np.float32)
    fondness[random.uniform(size=fondness.shape) < 0.3] = np.nan
    ages = random.integers(18, 50, USERS).astype(np.float32)
    ages[5] = 70
    return MarketData(
        ages=ages,
        user_vectors=random.standard_normal((USERS, 2, DIMENSION)).astype(np.float32),
        prices=random.uniform(1, 9, ITEMS).astype(np.float32),
        kinds=[KINDS[number % 3] for number in range(ITEMS)],
        added_us=random.integers(0, 20, ITEMS) * 1_000_000,
        item_vectors=random.standard_normal((2, ITEMS, DIMENSION)).astype(np.float32),
        fondness=fondness,
        cheapest={"a": 1.5, "b": 4.0},
        rebates={("x:1", 100): 0.5, ("y", 100): 0.25, ("y", 101): 0.75},
    )


def write_market_application(directory: Path) -> Path:
    """Write data, model and the application file; return the file."""
    data = market_data()
    vectors = pa.list_(pa.float32())
    (directory / "data").mkdir(parents=True)
    tastes = [pair[0].tolist() for pair in data.user_vectors[:-1]] + [None]
    styles = [pair[1].tolist() for pair in data.user_vectors[:-2]] + [None, None]
    tables = {
        "users": {
            "user_id": pa.array(range(1, USERS + 1), pa.int64()),
            "age": pa.array(data.ages),
            "taste": pa.array(tastes, vectors),
            "style": pa.array(styles, vectors),
        },
        "shops": {"shop": pa.array(list(data.cheapest)), "cheapest": pa.array(list(data.cheapest.values()))},
        "items": {
            "item_id": pa.array(range(100, 100 + ITEMS), pa.int64()),
            "price": pa.array(data.prices),
            "kind": pa.array(data.kinds),
            "added": pa.array(data.added_us, pa.timestamp("us", tz="UTC")),
            "taste": pa.array(data.item_vectors[0].tolist(), vectors),
            "style": pa.array(data.item_vectors[1].tolist(), vectors),
        },
        "affinities": {
            "user_id": pa.array(np.argwhere(~np.isnan(data.fondness))[:, 0] + 1),
            "item_id": pa.array(np.argwhere(~np.isnan(data.fondness))[:, 1] + 100),
            "fondness": pa.array(data.fondness[~np.isnan(data.fondness)]),
        },
        "offers": {
            "seller": pa.array([seller for seller, _ in data.rebates]),
            "item_id": pa.array([item_id for _, item_id in data.rebates], pa.int64()),
            "rebate": pa.array(data.rebates.values(), pa.float32()),
        },
    }
    for name, columns in tables.items():
        pq.write_table(pa.table(columns), directory / "data" / f"{name}.parquet")
    write_linear_model(directory / "models" / "ranker" / "1" / "model.onnx", WEIGHTS)
    write_linear_model(directory / "models" / "bargain" / "1" / "model.onnx", [1.0, 10.0, 100.0])
    file = directory / "market.yaml"
    file.write_text(YAML)
    return file
