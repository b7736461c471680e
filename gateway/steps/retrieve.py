"""Step 4, retrieve: search each index with each member's vector, all members in one call per index. What
several searches find is merged (`merge.py`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from forebay.deadline import Deadline
from forebay.errors import NotUsable
from numpy.typing import NDArray

from ann_index.queries import are_searchable, is_in_range
from ann_index.types import Metric, Neighbours
from gateway.batch import Batch, Candidates, Member
from gateway.plan import IndexSearch, RetrieveStep
from gateway.steps.excluded import excluded_keys
from gateway.steps.fallback import NOT_FOUND
from gateway.steps.fallback_candidates import retrieve_without
from gateway.steps.merge import Found, merged
from gateway.steps.step import DependentStep, Step
from registry.key_text import integer_texts
from runtime.gate import Gate
from runtime.offload import Offload


def retrieve_step(offload: Offload, gate: Callable[[Batch], Gate]) -> Step:
    """Return step 4."""
    return DependentStep(
        "retrieve",
        work=lambda batch, deadline: retrieve(batch, offload, deadline),
        gate=gate,
        size=lambda batch: len(batch.members),
        is_spare=lambda batch: batch.pipeline.retrieve_fallback is not None,
        without=retrieve_without,
        helpless=without_vector,
    )


async def retrieve(batch: Batch, offload: Offload, deadline: Deadline) -> None:
    """Fill in `batch.candidates` with what each member's searches find.

    A member that has no vector for one of several searches is answered from the others, and told so; one that
    has none at all fails (`_refuse_without_vector`), and the others go on.
    Cost: one call per search, one after the other, and one hop to a thread for all of them if they are long;
    with one search, nothing is merged or sorted.
    """
    step, keys = _declared(batch), batch.pipeline.candidates
    if keys is None:
        raise ValueError("what is retrieved has keys")
    queries = [_queries(batch, search) for search in step.searches]
    absent = [mask for _, mask in queries]
    if [mask for mask in absent if mask is not None]:
        _settle_without_vector(batch, step, absent)
    going = np.array([place for place, member in enumerate(batch.members) if member.error is None], np.intp)
    if not len(going):
        return
    asked = [
        _asked(batch, search, *query, going) for search, query in zip(step.searches, queries, strict=True)
    ]
    asked = [search for search in asked if len(search.members)]
    count = sum([len(search.members) for search in asked])
    found = await offload.run(step.estimate, count, deadline, lambda: [search.run() for search in asked])
    (field,) = keys.key
    if len(asked) == 1:
        batch.candidates = _only(asked[0], found[0], field.name)
    else:
        parts = [_found(*part) for part in zip(asked, found, strict=True)]
        batch.candidates = merged(parts, field.name)


def without_vector(batch: Batch) -> list[int]:
    """Return the places of the members that have no vector for any search."""
    absent = [_queries(batch, search)[1] for search in _declared(batch).searches]
    lacking = [mask for mask in absent if mask is not None]
    if len(lacking) < len(absent):
        return []
    places: list[int] = np.flatnonzero(np.all(lacking, axis=0)).tolist()
    return places


def request_candidates(batch: Batch) -> None:
    """Fill in `batch.candidates` with those that the requests name."""
    given = [member.candidates for member in batch.members]
    counts = [0 if candidates is None else len(candidates.texts) for candidates in given]
    batch.candidates = Candidates(
        texts=[text for candidates in given if candidates is not None for text in candidates.texts],
        member_of_row=np.repeat(np.arange(len(counts)), counts),
        scores=np.full(sum(counts), np.nan, np.float32),
        columns=_concatenated([candidates.columns for candidates in given if candidates is not None]),
    )


def _concatenated(tables: Sequence[Mapping[str, NDArray[np.generic]]]) -> dict[str, NDArray[np.generic]]:
    names = tables[0] if tables else ()
    return {name: np.concatenate([table[name] for table in tables]) for name in names}


@dataclass(slots=True)
class _Asked:
    """One search as it is run: for (a,) members with (a, dimension) vectors, without excluded positions."""

    search: IndexSearch
    members: NDArray[np.intp]
    vectors: NDArray[np.float32]
    exclude: list[NDArray[np.int64]] | None

    def run(self) -> Neighbours:
        return self.search.snapshot.index.search(self.vectors, self.search.k, self.exclude)


def _queries(batch: Batch, search: IndexSearch) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
    """Return every member's vector, (members, dimension), and who has none, (members,); None: nobody."""
    index = search.snapshot.index
    vectors = np.empty((len(batch.members), index.dimension), np.float32)
    batch.blocks[search.query_view].gather(search.query, vectors)
    if index.metric is not Metric.COSINE and is_in_range(vectors):
        return vectors, None
    absent = ~are_searchable(vectors, index.metric)
    return vectors, absent if absent.any() else None


def _settle_without_vector(
    batch: Batch, step: RetrieveStep, absent: Sequence[NDArray[np.bool_] | None]
) -> None:
    """Settle what becomes of the members that have no vector for a search."""
    lacking = [
        (search.query_view, mask)
        for search, mask in zip(step.searches, absent, strict=True)
        if mask is not None
    ]
    for index in np.flatnonzero(np.any([mask for _, mask in lacking], axis=0)).tolist():
        member = batch.members[index]
        views = Counter(view for view, mask in lacking if mask[index])
        if member.error is not None:
            continue
        if views.total() == len(step.searches):
            _refuse_without_vector(member, step)
            continue
        for view, count in views.items():
            member.degrade("retrieve", view, NOT_FOUND, "FALLBACK", count)


def _refuse_without_vector(member: Member, step: RetrieveStep) -> None:
    """End a member that has nothing to search with."""
    views = " and ".join(dict.fromkeys(search.query_view for search in step.searches))
    indexes = " and ".join(dict.fromkeys(search.index for search in step.searches))
    member.error = NotUsable(f"view {views} has no vector to search index {indexes} with for this entity")


def _declared(batch: Batch) -> RetrieveStep:
    if batch.pipeline.retrieve is None:
        raise ValueError("retrieve runs only in a pipeline that declares it")
    return batch.pipeline.retrieve


def _asked(
    batch: Batch,
    search: IndexSearch,
    vectors: NDArray[np.float32],
    absent: NDArray[np.bool_] | None,
    going: NDArray[np.intp],
) -> _Asked:
    members = going if absent is None else going[~absent[going]]
    vectors = vectors if len(members) == len(vectors) else vectors[members]
    return _Asked(search, members, vectors, _excluded(batch, search, members))


def _excluded(batch: Batch, search: IndexSearch, members: NDArray[np.intp]) -> list[NDArray[np.int64]] | None:
    excluded = excluded_keys(batch, search)
    if excluded is None:
        return None
    positions = [search.snapshot.keys.positions(excluded[index]) for index in members]
    return [found[found >= 0] for found in positions]


def _only(asked: _Asked, found: Neighbours, field: str) -> Candidates:
    """Return what the only search found, closest first."""
    positions, member_of_row, scores = _flattened(asked, found)
    keys = asked.search.snapshot.keys
    values = keys.values(positions)
    if isinstance(values, list):
        texts, column = keys.texts_of(positions), np.array(values, object)
    else:
        texts, column = integer_texts(values.tolist()), values
    return Candidates(texts=texts, member_of_row=member_of_row, scores=scores, columns={field: column})


def _found(asked: _Asked, found: Neighbours) -> Found:
    positions, member_of_row, scores = _flattened(asked, found)
    values = asked.search.snapshot.keys.values(positions)
    keys = np.array(values, object) if isinstance(values, list) else values
    return Found(keys, member_of_row, scores)


def _flattened(
    asked: _Asked, found: Neighbours
) -> tuple[NDArray[np.int64], NDArray[np.intp], NDArray[np.float32]]:
    """Return positions, members and scores of all rows, without the padding."""
    members = asked.members
    if min(found.positions[:, -1].tolist()) >= 0:  # padding comes last: there is none
        return (
            found.positions.reshape(-1),
            np.repeat(members, found.positions.shape[1]),
            found.scores.reshape(-1),
        )
    valid = found.positions >= 0
    return found.positions[valid], np.repeat(members, valid.sum(axis=1)), found.scores[valid]
