"""The keys of views that are about a candidate and the request at once: what a user thinks of an item."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gateway.batch import Batch, Candidates
from gateway.inputs import key_text
from gateway.plan import KeyPart
from registry.key_text import SEPARATOR, integer_texts, string_texts


def mixed_texts(batch: Batch, candidates: Candidates, parts: Sequence[KeyPart]) -> list[str]:
    """Return the canonical key text of every candidate, (n,), while none has been dropped.

    Cost: per request field one text per member; then a few passes in C.
    """
    columns = [
        _candidate_texts(candidates, part.name)
        if part.of_candidate
        else _request_texts(batch, candidates, part)
        for part in parts
    ]
    return columns[0] if len(columns) == 1 else list(map(SEPARATOR.join, zip(*columns, strict=True)))


def _candidate_texts(candidates: Candidates, field: str) -> list[str]:
    if len(candidates.columns) == 1:
        return list(candidates.texts)
    column = candidates.columns[field]
    return string_texts(column.tolist()) if column.dtype == object else integer_texts(column.tolist())


def _request_texts(batch: Batch, candidates: Candidates, part: KeyPart) -> list[str]:
    texts = [key_text(part.name, member.inputs.values[part.name]) for member in batch.members]
    if len(texts) == 1:
        return texts * len(candidates.texts)
    found: list[str] = np.array(texts, object)[candidates.member_of_row].tolist()
    return found
