"""Candidates for requests that none can be retrieved for: the list that the pipeline declares under
`degrade.retrieve`, without what the request excludes."""

from __future__ import annotations

import numpy as np
from forebay.errors import Error
from numpy.typing import NDArray

from gateway.batch import Batch, Candidates
from gateway.plan import FallbackCandidates, RetrieveStep
from gateway.steps.excluded import excluded_keys

ACTION = "FALLBACK"


async def retrieve_without(batch: Batch, reason: str, error: Error) -> None:
    """Fill in `batch.candidates` with as many of the pipeline's fallback candidates for every member as it
    would have retrieved, the first first."""
    step, fallback = batch.pipeline.retrieve, batch.pipeline.retrieve_fallback
    if step is None or fallback is None:
        raise ValueError("only a pipeline that declares fallback candidates retrieves without its index")
    chosen = [
        np.empty(0, np.intp) if member.error is not None else left[: step.most]
        for member, left in zip(batch.members, _left(batch, step, fallback), strict=True)
    ]
    places = np.concatenate(chosen)
    counts = [len(part) for part in chosen]
    batch.candidates = Candidates(
        texts=[fallback.texts[place] for place in places.tolist()],
        member_of_row=np.repeat(np.arange(len(counts)), counts),
        scores=np.full(len(places), np.nan, np.float32),
        columns={name: values[places] for name, values in fallback.columns.items()},
    )
    for member, count in zip(batch.members, counts, strict=True):
        if member.error is None:
            member.degrade("retrieve", step.index, reason, ACTION, count)


def _left(batch: Batch, step: RetrieveStep, fallback: FallbackCandidates) -> list[NDArray[np.intp]]:
    """Return which of the fallback candidates no search of a member excludes, (m,) rising for each."""
    (values,) = fallback.columns.values()
    left = np.ones((len(batch.members), len(values)), np.bool_)
    for search in step.searches:
        for place, keys in enumerate(excluded_keys(batch, search) or ()):
            left[place] &= ~np.isin(values, keys)
    return [np.flatnonzero(row) for row in left]
