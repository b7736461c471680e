"""A release: the one unit of publication. It says which plan, which generation of each view, which version of
each index and model are live together; it is immutable, and a request is answered from one of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from pydantic import TypeAdapter

from registry.plan import Plan
from registry.precomputed import PrecomputedRelease


@dataclass(frozen=True, slots=True)
class ViewRelease:
    """The live rows of a view: the generation in their keys, and the batch that wrote them.

    `as_of_us` is the instant until which a swapped generation's data is complete; 0 for a view whose rows are
    written in place and tell their own write time.
    """

    generation: int
    as_of_us: int = 0
    batch: str = ""


@dataclass(frozen=True, slots=True)
class IndexRelease:
    """The live version of an index: the name of its snapshot's directory."""

    version: str


@dataclass(frozen=True, slots=True)
class ModelRelease:
    """The live version of a model."""

    champion: str


@dataclass(frozen=True, slots=True)
class FallbackRelease:
    """The keys of the candidates that a pipeline falls back on, the best first, and when they were read."""

    keys: tuple[int | str, ...]
    as_of_us: int = 0


@dataclass(frozen=True, slots=True)
class Release:
    """What is live together. A view, index or model without an entry has never been published; a pipeline
    without one in `precomputed` has no answers made beforehand, without one in `fallbacks` no candidates but
    those that it retrieves.

    `parent` is the release before it, 0 for the first; `who` and `why` are told by whoever published it.
    The `with_` and `without_` methods return drafts: a number, a parent and a time come with publication.
    """

    number: int
    app: str
    plan: int
    views: Mapping[str, ViewRelease] = field(default_factory=dict)
    indexes: Mapping[str, IndexRelease] = field(default_factory=dict)
    models: Mapping[str, ModelRelease] = field(default_factory=dict)
    precomputed: Mapping[str, PrecomputedRelease] = field(default_factory=dict)
    fallbacks: Mapping[str, FallbackRelease] = field(default_factory=dict)
    parent: int = 0
    at_us: int = 0
    who: str = ""
    why: str = ""

    def with_view(self, name: str, generation: int, as_of_us: int = 0, batch: str = "") -> Release:
        """Return a draft in which the view's live rows are those of `generation`."""
        return replace(self, views={**self.views, name: ViewRelease(generation, as_of_us, batch)})

    def without_view(self, name: str) -> Release:
        """Return a draft in which the view has no rows."""
        return replace(self, views=_without(self.views, name))

    def with_index(self, name: str, version: str) -> Release:
        """Return a draft in which `version` of the index is live."""
        return replace(self, indexes={**self.indexes, name: IndexRelease(version)})

    def without_index(self, name: str) -> Release:
        """Return a draft in which no version of the index is live."""
        return replace(self, indexes=_without(self.indexes, name))

    def with_model(self, name: str, champion: str) -> Release:
        """Return a draft in which `champion` is the model's live version."""
        return replace(self, models={**self.models, name: ModelRelease(champion)})

    def without_model(self, name: str) -> Release:
        """Return a draft in which no version of the model is live."""
        return replace(self, models=_without(self.models, name))

    def with_precomputed(self, pipeline: str, entry: PrecomputedRelease) -> Release:
        """Return a draft in which these precomputed answers of the pipeline are live."""
        return replace(self, precomputed={**self.precomputed, pipeline: entry})

    def without_precomputed(self, pipeline: str) -> Release:
        """Return a draft in which the pipeline has no precomputed answers."""
        return replace(self, precomputed=_without(self.precomputed, pipeline))

    def with_fallbacks(self, fallbacks: Mapping[str, FallbackRelease]) -> Release:
        """Return a draft in which these pipelines fall back on these candidates; where the keys are the same
        as before, the entry stays as it is."""
        changed = {
            name: entry
            for name, entry in fallbacks.items()
            if name not in self.fallbacks or self.fallbacks[name].keys != entry.keys
        }
        return replace(self, fallbacks={**self.fallbacks, **changed})

    def with_plan(self, plan: Plan) -> Release:
        """Return a draft of `plan`; entries whose names aren't in it are gone."""
        application = plan.application
        return replace(
            self,
            plan=plan.number,
            views=_only(self.views, application.views),
            indexes=_only(self.indexes, application.indexes),
            models=_only(self.models, application.models),
            precomputed=_only(self.precomputed, application.pipelines),
            fallbacks=_only(self.fallbacks, application.pipelines),
        )

    def numbered(self, number: int, *, at_us: int, who: str, why: str) -> Release:
        """Return the draft as release `number`, whose parent is the one before it."""
        return replace(self, number=number, parent=number - 1, at_us=at_us, who=who, why=why)

    def says_the_same(self, other: Release) -> bool:
        """Return whether the two have the same plan, and the same of everything else, live."""
        return self._content() == other._content()

    def strangers(self, plan: Plan) -> list[str]:
        """Return the entries that `plan` doesn't know, as `views.name`; none may be published."""
        application = plan.application
        parts = (
            ("views", self.views, application.views),
            ("indexes", self.indexes, application.indexes),
            ("models", self.models, application.models),
            ("precomputed", self.precomputed, application.pipelines),
            ("fallbacks", self.fallbacks, application.pipelines),
        )
        return [f"{part}.{name}" for part, entries, known in parts for name in entries if name not in known]

    def to_json(self) -> str:
        """Return the release as the registry stores it."""
        return _RELEASE.dump_json(self).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> Release:
        """Return the release that `to_json` wrote.

        Raises: ValueError, where the text isn't one.
        """
        return _RELEASE.validate_json(text)

    def _content(self) -> tuple[object, ...]:
        return self.plan, self.views, self.indexes, self.models, self.precomputed, self.fallbacks


_RELEASE = TypeAdapter(Release)
T = TypeVar("T")


def _without(entries: Mapping[str, T], name: str) -> dict[str, T]:
    return {key: entry for key, entry in entries.items() if key != name}


def _only(entries: Mapping[str, T], names: Mapping[str, object]) -> dict[str, T]:
    return {key: entry for key, entry in entries.items() if key in names}
