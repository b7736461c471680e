"""What a release says of a pipeline's precomputed answers: which version is live, what it was made from and
for. How the answers lie in the store is in gateway/precomputed_key.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class PrecomputedPart:
    """An input that has several values among a version's answers: as it is, or by the bin it falls into."""

    input: str
    bin: float | None = None


@dataclass(frozen=True, slots=True)
class PrecomputedRelease:
    """The live precomputed answers of a pipeline.

    `version` is in their keys. `as_of_us` is when their making began, `made_by` the release they were made
    with: both stay what they are when later releases carry them on. `count` answers, for `entity_count`
    different entities; each has at most `top` rows (0: one row, without a rank) and returns `features`.

    `key` are the inputs that tell the answers apart; `fixed` the other inputs, each with the canonical text
    of the value that all answers were made with. `inputs` and `columns` are the names and types of what the
    pipeline took and gave: a pipeline that has changed since can't use them.
    """

    version: int
    as_of_us: int
    made_by: int
    count: int
    entity_count: int
    top: int
    key: tuple[PrecomputedPart, ...]
    fixed: Mapping[str, str] = field(default_factory=dict)
    features: tuple[str, ...] = ()
    inputs: Mapping[str, str] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)
    batch: str = ""
