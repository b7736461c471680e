"""The application file as one frozen value. Its parts are in `data_definitions.py` and
`pipeline_definitions.py` and are imported from here; finding a file's mistakes is `application_file.py`.

A definition dumped by alias is again the file's form, in its long spelling, and parses to an equal value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from registry.data_definitions import (
    AGGREGATES,
    Batch,
    Entity,
    Feature,
    Index,
    KafkaTopic,
    Model,
    ModelInput,
    PublishIf,
    RedisStream,
    Source,
    Stream,
    View,
    Window,
    split_column,
)
from registry.dtypes import DType
from registry.fields import Definition, Identifier, Name
from registry.pipeline_definitions import (
    MAX_TOP,
    Budget,
    Cache,
    CandidateQuery,
    Condition,
    Degrade,
    FeatureScore,
    HydrateView,
    KeyPart,
    Pipeline,
    Precomputed,
    RequestFeature,
    Retrieve,
    RetrieveFallback,
    Select,
)


class Application(Definition):
    """Everything that the system does for one team."""

    app: Name
    entities: Mapping[Identifier, Entity] = Field(default_factory=dict)
    sources: Mapping[Identifier, Source] = Field(default_factory=dict)
    streams: Mapping[Identifier, Stream] = Field(default_factory=dict)
    views: Mapping[Identifier, View] = Field(default_factory=dict)
    indexes: Mapping[Name, Index] = Field(default_factory=dict)
    models: Mapping[Name, Model] = Field(default_factory=dict)
    pipelines: Mapping[Name, Pipeline] = Field(default_factory=dict)

    def file_form(self) -> dict[str, Any]:
        """Return the application as its file's data, every short spelling written out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    @classmethod
    def from_file_form(cls, data: object) -> Application:
        """Return the application that `data` describes; rules between its parts aren't checked here.

        Raises: pydantic.ValidationError.
        """
        return cls.model_validate(data)

    def dtype(self, column: str) -> DType | None:
        """Return the type of `view.feature`; None where there is no such view or feature."""
        view_name, feature = split_column(column)
        view = self.views.get(view_name)
        return None if view is None else view.dtypes.get(feature)

    def space(self, column: str) -> str | None:
        """Return the space that the feature `view.feature` declares, if it does."""
        view_name, feature_name = split_column(column)
        view = self.views.get(view_name)
        feature = None if view is None else view.features.get(feature_name)
        return None if feature is None else feature.space

    def space_members(self, space: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the views and the indexes that share `space`, which are published together."""
        views = tuple(
            name
            for name, view in self.views.items()
            if any(feature.space == space for feature in view.features.values())
        )
        indexes = tuple(name for name, index in self.indexes.items() if self.space(index.vector) == space)
        return views, indexes


__all__ = [
    "AGGREGATES",
    "MAX_TOP",
    "Application",
    "Batch",
    "Budget",
    "Cache",
    "CandidateQuery",
    "Condition",
    "Degrade",
    "Entity",
    "Feature",
    "FeatureScore",
    "HydrateView",
    "Index",
    "KafkaTopic",
    "KeyPart",
    "Model",
    "ModelInput",
    "Pipeline",
    "Precomputed",
    "PublishIf",
    "RedisStream",
    "RequestFeature",
    "Retrieve",
    "RetrieveFallback",
    "Select",
    "Source",
    "Stream",
    "View",
    "Window",
    "split_column",
]
