"""The making of one version of a pipeline's precomputed answers: chunk by chunk made, noted and stored, where
nobody reads them yet. `precompute.py` decides what becomes of the version."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from gateway.inputs import InputValue
from gateway.precomputed.beforehand import Beforehand, MadeAnswer
from gateway.precomputed.keys import MAX_TEXT_LENGTH, AnswerKeys
from jobs.generation_keys import packed
from jobs.headroom import check_headroom
from jobs.precompute_plan import Wanted
from jobs.precomputed_versions import PrecomputedVersions
from jobs.progress import Progress

CHUNK_ANSWERS = 1000
"""Answers that are made, then stored, at a time: what is in memory of them."""

_KEY_BYTES = 100
"""What the server needs for a key and its entry, beside the text and the value."""


@dataclass(slots=True)
class Tally:
    """What became of the answers so far. `failed` counts those that couldn't be made, by reason."""

    answers: int = 0
    degraded: int = 0
    size_bytes: int = 0
    failed: dict[str, int] = field(default_factory=dict)
    entities: set[tuple[InputValue, ...]] = field(default_factory=set)

    @property
    def failed_count(self) -> int:
        return sum(self.failed.values())

    def fail(self, reason: str) -> None:
        """Count an answer that there is none of."""
        self.failed[reason] = self.failed.get(reason, 0) + 1


@dataclass(frozen=True, slots=True)
class PrecomputeRun:
    """One version in the making: its answers, the inputs that name an entity, and where all of it goes."""

    pipeline: str
    version: int
    keys: AnswerKeys
    entity_inputs: tuple[str, ...]
    maker: Beforehand
    versions: PrecomputedVersions
    progress: Progress

    async def store(self, wanted: Wanted) -> Tally:
        """Make and store every answer; return what became of them.

        Raises: as Beforehand.make; Refused where the store has no room for them all; Unavailable where it is
        gone, or full. Whatever was stored until then is in the version's list.
        """
        tally, done = Tally(), 0
        subject = f"pipeline {self.pipeline}"
        self.progress(subject, "compute", 0, wanted.count)
        for chunk in _chunks(wanted):
            await self._store_chunk(chunk, tally)
            if done == 0:
                await self._check_room(tally, wanted.count / len(chunk))
            done += len(chunk)
            self.progress(subject, "compute", done, wanted.count)
        return tally

    async def _store_chunk(self, chunk: list[dict[str, InputValue]], tally: Tally) -> None:
        made: dict[str, MadeAnswer] = {}
        for values, answer in zip(chunk, await self.maker.make(chunk), strict=True):
            if not isinstance(answer, MadeAnswer):
                tally.fail(answer.message)
                continue
            text = self.keys.texts(values)
            if len(text) > MAX_TEXT_LENGTH:
                tally.fail(f"its inputs are longer than {MAX_TEXT_LENGTH} characters together")
                continue
            made.setdefault(text, answer)
            tally.entities.add(tuple(values[name] for name in self.entity_inputs))
        if not made:
            return
        texts, answers = list(made), list(made.values())
        await self.versions.lists(self.pipeline).add(self.version, packed(texts))
        await self.versions.store.load_many(self.keys.of(texts), [answer.raw for answer in answers])
        tally.answers += len(answers)
        tally.degraded += sum(answer.degraded for answer in answers)
        tally.size_bytes += sum(len(answer.raw) for answer in answers)
        tally.size_bytes += sum(map(len, texts)) + _KEY_BYTES * len(texts)

    async def _check_room(self, tally: Tally, chunks: float) -> None:
        """Judge by the first chunk whether the others have room beside it."""
        more_bytes = round(tally.size_bytes * (chunks - 1))
        await check_headroom(self.versions.connection, more_bytes, f"the answers of pipeline {self.pipeline}")


def _chunks(wanted: Wanted) -> Iterator[list[dict[str, InputValue]]]:
    inputs: Iterator[dict[str, InputValue]] = iter(wanted)
    while chunk := list(islice(inputs, CHUNK_ANSWERS)):
        yield chunk
