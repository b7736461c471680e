"""The bench's views as Feast has them: one entity, a feature view per view, one feature service of both. The
offline source is named because Feast wants one, and never read: rows are written to the online store.
"""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.types import Float32

KEY = "item_id"
EVENT_TIME = "event_timestamp"
SERVICE = "all_features"
_PROJECT = "bench"
_MAX_AGE = timedelta(days=3_650)


def write_settings(directory: Path, socket: Path) -> None:
    """Write `feature_store.yaml`: Redis as the online store, over its unix socket. JSON is YAML too."""
    settings = {
        "project": _PROJECT,
        "provider": "local",
        "registry": str(directory / "registry.db"),
        # redis-py takes the socket before host and port, which Feast's parser wants to see.
        "online_store": {"type": "redis", "connection_string": f"localhost:6379,unix_socket_path={socket}"},
        "entity_key_serialization_version": 3,
    }
    (directory / "feature_store.yaml").write_text(json.dumps(settings))


def apply(directory: Path, views: dict[str, list[str]]) -> FeatureStore:
    """Register the views, float32 features by view, and the service; return the store."""
    item = Entity(name="item", join_keys=[KEY], value_type=ValueType.INT64)
    feature_views = [
        FeatureView(
            name=name,
            entities=[item],
            ttl=_MAX_AGE,
            schema=[Field(name=feature, dtype=Float32) for feature in features],
            source=FileSource(path=str(directory / f"{name}.parquet"), timestamp_field=EVENT_TIME),
        )
        for name, features in views.items()
    ]
    store = FeatureStore(repo_path=str(directory))
    store.apply([item, *feature_views, FeatureService(name=SERVICE, features=feature_views)])
    return store
