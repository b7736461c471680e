"""The values that the eight steps pass along: a request, its place in a batch, and its answer. A batch holds
requests for one pipeline; each step fills in its part for all of them. Transport-free."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from math import inf
from typing import Final

import numpy as np
from forebay.deadline import Deadline
from forebay.errors import Error, Internal, Unavailable
from numpy.typing import NDArray

from feature_store.codec import RowBlock
from gateway.inputs import Inputs
from gateway.kept_answer import CacheOutcome, KeptAnswer
from gateway.plan import CompiledPipeline
from registry.columns import VariableLists
from registry.dtypes import Scalar
from runtime.batcher import Criticality
from runtime.stages import StageTiming

_SHARES = 4
"""Into which the steps that depend on something share what is left to those in a hurry."""

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
    work_until_s: float
    give_up_s: float
    """When its steps have to be done, and when their answer is given up; on the monotonic clock. The reply
    takes the rest of its time."""
    admitted_s: float
    top: int
    return_features: Sequence[str]
    candidates: RequestCandidates | None
    prediction_id: str
    trace_id: str
    stages: list[StageTiming]
    raw: bytes = b""
    """The request as it came in; empty where that isn't at hand."""
    began_s: float = inf
    """When its batch began, on the monotonic clock; infinity while it waits."""
    error: Error | None = None
    answer: Answer | Recalled | None = None
    degradations: list[Degradation] = field(default_factory=list)
    oldest_as_of_us: int = 0
    """The least as-of time of the rows used for it; 0 while none is."""
    stale_at_us: int = NEVER_US
    """The last instant at which none of the rows used for it is older than its view allows."""
    row_texts: dict[str, Sequence[str]] = field(default_factory=dict)
    """The key texts of its candidates, for the views whose writes end its answer."""

    @property
    def reply_at_s(self) -> float:
        """When its reply has to be begun: what stands in for an answer that was given up has until then."""
        return (self.give_up_s + self.deadline.at_s) / 2

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

    def used(self, as_of_us: int, stale_at_us: int) -> None:
        """Note that rows take part in the answer that are known as of `as_of_us` (0 where there is none), and
        are stale after `stale_at_us`."""
        if not as_of_us:
            return
        if self.oldest_as_of_us == 0 or as_of_us < self.oldest_as_of_us:
            self.oldest_as_of_us = as_of_us
        if stale_at_us < self.stale_at_us:
            self.stale_at_us = stale_at_us


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
    _starts: list[int] = field(default_factory=list)

    def starts(self, members: int) -> list[int]:
        """Return where the rows of each of so many members start among the m, and, last, m. Cost: once."""
        if len(self._starts) != members + 1:
            whose = self.member_of_row
            self._starts = (
                [0, len(whose)] if members == 1 else np.searchsorted(whose, np.arange(members + 1)).tolist()
            )
        return self._starts

    def of_members(self, places: Sequence[int]) -> Candidates:
        """Return the candidates of the members at `places` (rising), which become the members 0, 1, ..."""
        others = copy(self)
        others.keep(np.flatnonzero(np.isin(self.member_of_row, places)))
        others.member_of_row = np.searchsorted(places, others.member_of_row)
        others._starts = []
        return others

    def compact(self) -> None:
        """Let n be m: forget those that were dropped, whose rows haven't been read."""
        if self.rows is not None:
            self.texts, self.rows = [self.texts[row] for row in self.rows.tolist()], None

    def keep(self, kept: NDArray[np.intp]) -> None:
        """Drop all but the m rows that `kept` indexes."""
        self.rows = kept if self.rows is None else self.rows[kept]
        self._starts = []
        self.member_of_row = self.member_of_row[kept]
        self.scores = self.scores[kept]
        self.columns = {name: values[kept] for name, values in self.columns.items()}


@dataclass(slots=True)
class Batch:
    """Requests for one pipeline on their way through the steps.

    `rows` holds the rows of the requests' entities by view, one per member, as they were read, and `blocks`
    as the model may see them; `candidate_blocks` those of the candidates. `outputs` maps a score's name to
    one float32 per scored row.
    """

    pipeline: CompiledPipeline
    members: list[Member]
    now_us: int
    rows: dict[str, Sequence[bytes | None]] = field(default_factory=dict)
    blocks: dict[str, RowBlock] = field(default_factory=dict)
    candidates: Candidates | None = None
    candidate_blocks: dict[str, RowBlock] = field(default_factory=dict)
    tensors: dict[str, NDArray[np.generic]] = field(default_factory=dict)
    outputs: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    oldest_as_of_us: int = 0
    """The least as-of time of what every member uses; 0 while there is none. What only some use is theirs."""
    stale_at_us: int = NEVER_US
    """The last instant at which none of that is older than its view allows."""
    waited_s: float = 0.0
    """How long it has waited for rows that it could do without."""
    due_s: list[float] = field(init=False)
    """When the work for each member has to be done, on the monotonic clock."""
    step_reserve_s: float = field(init=False, default=0.0)
    """What a step leaves each later one at least."""
    ends_s: list[float] = field(init=False)
    """When each member is given up, on the monotonic clock."""
    first_end_s: float = field(init=False)
    last_end_s: float = field(init=False)
    """The first and the last of those."""

    def __post_init__(self) -> None:
        self.due_s = [member.work_until_s for member in self.members]
        self.ends_s = [member.give_up_s for member in self.members]
        self.first_end_s, self.last_end_s = min(self.ends_s), max(self.ends_s)

    def used(self, as_of_us: int, stale_at_us: int) -> None:
        """Note what `Member.used` does, of rows that every member uses."""
        if self.oldest_as_of_us == 0 or as_of_us < self.oldest_as_of_us:
            self.oldest_as_of_us = as_of_us
        if stale_at_us < self.stale_at_us:
            self.stale_at_us = stale_at_us

    def hurry(self) -> None:
        """Use all the time that the members have: a step has been waited for in vain. The steps that are left
        share it."""
        self.due_s = self.ends_s
        spare_s = min([member.give_up_s - member.work_until_s for member in self.members])
        self.step_reserve_s = spare_s / _SHARES

    @property
    def row_count(self) -> int:
        """How many rows are scored, as far as is known: the candidates, or one per member."""
        if self.candidates is not None:
            return len(self.candidates.member_of_row)
        return sum([member.row_count for member in self.members])

    def rows_of(self, view: str) -> tuple[RowBlock, NDArray[np.intp] | None]:
        """Return a hydrated view's rows, and which of them each scored row has; None: its own, in order."""
        candidates = self.candidates
        if candidates is None:
            return self.blocks[view], None
        if view in self.candidate_blocks:
            return self.candidate_blocks[view], candidates.rows
        return self.blocks[view], candidates.member_of_row

    @property
    def ended(self) -> bool:
        """Whether no member is left that waits for an answer."""
        return all(member.error is not None or member.answer is not None for member in self.members)

    def limits_s(
        self, stage: str, now_s: float, reserve_s: float | None, usual_s: float = 0.0
    ) -> list[float]:
        """Return by when a stage that starts now has to be done for each member. It leaves `reserve_s` to the
        later ones, but takes no less than `usual_s`, or a quarter of what is left; without a reserve, because
        nothing can be done without it, it may take all there is.
        """
        if reserve_s is None:
            return self.pipeline.budget.limits_s(stage, self.ends_s, now_s)
        limits_s = [max(due_s - reserve_s, now_s + min(usual_s, (due_s - now_s) / 4)) for due_s in self.due_s]
        return self.pipeline.budget.limits_s(stage, limits_s, now_s)

    def part(self, places: Sequence[int]) -> Batch:
        """Return the members at `places` (rising), with all that is known for them, as a batch of their own.

        Here each leaves a stand-in that has failed: the rows that were read for it stay where they are.
        """
        members = [self.members[place] for place in places]
        others = Batch(self.pipeline, members, self.now_us)
        others.oldest_as_of_us, others.stale_at_us = self.oldest_as_of_us, self.stale_at_us
        others.hurry()
        for place in places:
            self.members[place] = replace(
                self.members[place], error=_PARTED, stages=[], degradations=[], answer=None
            )
        for view in self.pipeline.hydrate:
            if view.name in self.rows:
                others.rows[view.name] = rows = [self.rows[view.name][place] for place in places]
                block = view.reader.decode(rows, self.now_us)
                others.blocks[view.name] = view.trusted(rows, block, self.now_us)
        if self.candidates is not None:
            others.candidates = self.candidates.of_members(places)
            others.candidate_blocks = dict(self.candidate_blocks)
            if not others.candidate_blocks:
                others.candidates.compact()
        if self.tensors:
            whose = np.arange(len(self.members)) if self.candidates is None else self.candidates.member_of_row
            mine = np.isin(whose, places)
            others.tensors = {name: tensor[mine] for name, tensor in self.tensors.items()}
        return others

    def fail(self, error: Error) -> None:
        """Fail every member that has not ended yet, each with an error of its own like `error`."""
        for member in self.members:
            if member.error is None and member.answer is None:
                member.error = another(error)


@dataclass(slots=True)
class AnswerColumn:
    """One column of an answer, a value per ranked row."""

    name: str
    values: Values
    scalar: Scalar
    statuses: NDArray[np.uint8] | None = None


@dataclass(slots=True)
class Answer:
    """What one request gets where it was made for it: columns in rank order, and what made them."""

    member: Member
    entities: Sequence[AnswerColumn]
    scores: Sequence[AnswerColumn]
    features: Sequence[AnswerColumn]
    oldest_as_of_us: int


@dataclass(frozen=True, slots=True)
class Recalled:
    """A kept answer given to a request.

    `member` brings this request's own ids and stages, and degradations beside those in the kept answer.
    Units: `age_us` since the kept answer was made; what a MISS gives is not old, and says 0.
    """

    member: Member
    kept: KeptAnswer
    outcome: CacheOutcome
    age_us: int


def result_of(member: Member) -> Answer | Recalled | Error:
    """Return a member's answer, or why it has none."""
    return member.error or member.answer or _unanswered(member)


def _unanswered(member: Member) -> Internal:
    identity = secrets.token_hex(8)
    logger.error(
        "internal error %s: request %s of pipeline %s ended without an answer and without an error",
        identity,
        member.prediction_id,
        member.pipeline.name,
    )
    return Internal(f"internal error {identity}", id=identity)


_PARTED = Unavailable("its member went on in a batch of its own")


def another(error: Error) -> Error:
    """Return an error like `error` for one more to raise and to add to."""
    copied = copy(error)
    copied.metadata = dict(error.metadata)
    copied.__cause__ = error
    return copied
