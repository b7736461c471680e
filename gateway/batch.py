"""The values that the eight steps pass along: a request, its place in a batch, and its answer. A batch holds
requests for one pipeline; each step fills in its part for all of them. Transport-free."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from forebay.deadline import Deadline
from forebay.errors import Error, Internal
from numpy.typing import NDArray

from feature_store.codec import RowBlock
from gateway.inputs import Inputs
from gateway.plan import CompiledPipeline
from registry.columns import VariableLists
from registry.dtypes import Scalar
from runtime.batcher import Criticality
from runtime.stages import StageTiming

Values = NDArray[np.generic] | list[str] | VariableLists

NEVER_US: Final = 2**63 - 1
"""An instant that doesn't come."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Degradation:
    """Something that the answer had to leave out or replace. Names as in `forebay.v1.Degradation`."""

    stage: str
    subject: str
    reason: str
    action: str
    count: int


@dataclass(frozen=True, slots=True)
class RequestCandidates:
    """Candidates that the request itself names: canonical key texts, and the key columns to give back."""

    texts: Sequence[str]
    columns: Mapping[str, NDArray[np.generic]]


@dataclass(slots=True)
class Member:
    """One admitted request. `error` is set by the step that it failed in; the others of its batch go on."""

    pipeline: CompiledPipeline
    criticality: Criticality
    inputs: Inputs
    deadline: Deadline
    admitted_s: float
    top: int
    return_features: Sequence[str]
    candidates: RequestCandidates | None
    prediction_id: str
    trace_id: str
    stages: list[StageTiming]
    error: Error | None = None
    degradations: list[Degradation] = field(default_factory=list)
    oldest_as_of_us: int = 0
    """The least as-of time of the rows used for it; 0 while none is."""
    stale_at_us: int = NEVER_US
    """The last instant at which none of the rows used for it is older than its view allows."""

    @property
    def row_count(self) -> int:
        """The most rows that the request may have scored, at least 1: its weight in a batch."""
        if self.candidates is not None:
            return max(1, len(self.candidates.texts))
        retrieve = self.pipeline.retrieve
        return 1 if retrieve is None else max(1, retrieve.most)

    def degrade(self, stage: str, subject: str, reason: str, action: str, count: int) -> None:
        """Report what the answer has to do without."""
        self.degradations.append(Degradation(stage, subject, reason, action, count))

    def used(self, as_of_us: int, max_age_us: int | None = None) -> None:
        """Note that rows known as of `as_of_us` (0 where there is none) take part in the answer."""
        if not as_of_us:
            return
        if self.oldest_as_of_us == 0 or as_of_us < self.oldest_as_of_us:
            self.oldest_as_of_us = as_of_us
        if max_age_us is not None and as_of_us + max_age_us < self.stale_at_us:
            self.stale_at_us = as_of_us + max_age_us


@dataclass(slots=True)
class Candidates:
    """The entities that are scored, all members' rows in one run, each member's together.

    Shapes: n candidates as found; m <= n once those that lack a required row are dropped. `rows` says which.
    """

    texts: Sequence[str]  # n canonical keys
    member_of_row: NDArray[np.intp]  # (m,), rising
    scores: NDArray[np.float32]  # (m,) retrieval scores, NaN where they came from the request
    columns: Mapping[str, NDArray[np.generic]]  # (m,) key columns in the key's order; strings as objects
    rows: NDArray[np.intp] | None = None  # (m,) which of the n are left; None while all are

    def keep(self, kept: NDArray[np.intp]) -> None:
        """Drop all but the m rows that `kept` indexes."""
        self.rows = kept if self.rows is None else self.rows[kept]
        self.member_of_row = self.member_of_row[kept]
        self.scores = self.scores[kept]
        self.columns = {name: values[kept] for name, values in self.columns.items()}


@dataclass(slots=True)
class Batch:
    """Requests for one pipeline on their way through the steps.

    `blocks` holds the rows of the requests' entities by view, one row per member; `candidate_blocks` those of
    the candidates. `outputs` maps a score's name to one float32 per scored row.
    """

    pipeline: CompiledPipeline
    members: Sequence[Member]
    now_us: int
    blocks: dict[str, RowBlock] = field(default_factory=dict)
    candidates: Candidates | None = None
    candidate_blocks: dict[str, RowBlock] = field(default_factory=dict)
    tensors: dict[str, NDArray[np.generic]] = field(default_factory=dict)
    outputs: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    answers: Sequence[Answer | None] = ()
    deadline_s: float = field(init=False)
    """The latest of the members' deadlines, on the monotonic clock."""

    def __post_init__(self) -> None:
        self.deadline_s = max([member.deadline.at_s for member in self.members])

    @property
    def row_count(self) -> int:
        """How many rows are scored: the candidates, or one per member."""
        return len(self.members) if self.candidates is None else len(self.candidates.member_of_row)

    def rows_of(self, view: str) -> tuple[RowBlock, NDArray[np.intp] | None]:
        """Return a hydrated view's rows, and which of them each scored row has; None: its own, in order."""
        candidates = self.candidates
        if candidates is None:
            return self.blocks[view], None
        if view in self.candidate_blocks:
            return self.candidate_blocks[view], candidates.rows
        return self.blocks[view], candidates.member_of_row

    @property
    def failed(self) -> bool:
        """Whether no member is left that can be answered."""
        return all(member.error is not None for member in self.members)

    def fail(self, error: Error) -> None:
        """Fail every member that has not failed yet, each with an error of its own like `error`."""
        for member in self.members:
            if member.error is None:
                member.error = _another(error)

    def results(self) -> list[Answer | Error]:
        """Return each member's answer, or why it has none."""
        return [
            member.error or answer or _unanswered(member)
            for member, answer in zip(self.members, self.answers or [None] * len(self.members), strict=True)
        ]


@dataclass(frozen=True, slots=True)
class AnswerColumn:
    """One column of an answer, a value per ranked row."""

    name: str
    values: Values
    scalar: Scalar
    statuses: NDArray[np.uint8] | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What one request gets: columns in rank order, and what made them."""

    member: Member
    entities: Sequence[AnswerColumn]
    scores: Sequence[AnswerColumn]
    features: Sequence[AnswerColumn]
    oldest_as_of_us: int


def _unanswered(member: Member) -> Internal:
    identity = secrets.token_hex(8)
    logger.error(
        "internal error %s: request %s of pipeline %s ended without an answer and without an error",
        identity,
        member.prediction_id,
        member.pipeline.name,
    )
    return Internal(f"internal error {identity}", id=identity)


def _another(error: Error) -> Error:
    """Return an error like `error` for one more to raise and to add to."""
    another = copy(error)
    another.metadata = dict(error.metadata)
    another.__cause__ = error
    return another
