"""Kept answers as bytes: they come back, bytes that are none are Corrupt, a part of one is a whole answer."""

from __future__ import annotations

import numpy as np
import pytest
from forebay.errors import Corrupt
from forebay.v1 import prediction_pb2 as pb

from gateway.convert import Values, fill_column
from gateway.kept_answer import KeptAnswer
from gateway.precomputed.kept_bytes import StoredAnswer, packed, shortened, unpacked
from registry.columns import VariableLists
from registry.dtypes import Scalar

STORED = StoredAnswer(KeptAnswer(b"body", 7, 1_700_000_000_000_000, 2**63 - 1, degraded=True), 10)


def answer() -> KeptAnswer:
    """An answer of four rows with a feature of every kind."""
    response = pb.PredictResponse(provenance=pb.Provenance(release=7))
    response.degradations.add(stage="hydrate", subject="v", reason="STALE", action="DEFAULTS", count=1)
    fill_column(response.entities.add(), "item_id", np.arange(4), Scalar.INT64)
    fill_column(response.scores.add(), "score", np.array([4, 3, 2, 1], np.float32), Scalar.FLOAT32)
    tags = VariableLists(np.arange(6), np.array([0, 2, 2, 5, 6]))
    kinds: list[tuple[str, Values, Scalar]] = [
        ("v.title", ["a", "b", "c", "d"], Scalar.STRING),
        ("v.vector", np.arange(8, dtype=np.float32).reshape(4, 2), Scalar.FLOAT32),
        ("v.tags", tags, Scalar.INT64),
    ]
    for name, values, scalar in kinds:
        fill_column(response.features.add(), name, values, scalar, np.array([1, 5, 1, 1], np.uint8))
    return KeptAnswer(response.SerializeToString(), 7, 1, 2, degraded=True)


def test_answer_comes_back_from_its_bytes() -> None:
    assert unpacked(packed(STORED)) == STORED


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x01",
        packed(STORED)[:-1],
        packed(STORED) + b"x",
        b"\x02" + packed(STORED)[1:],
        packed(STORED)[:-1] + b"X",
    ],
)
def test_bytes_are_corrupt_when_they_are_no_answer(raw: bytes) -> None:
    with pytest.raises(Corrupt):
        unpacked(raw)


def test_rows_are_cut_in_columns_of_every_kind() -> None:
    kept = shortened(answer(), 3, ["v.tags", "v.title", "v.vector"])
    response = pb.PredictResponse.FromString(kept.body)
    tags, titles, vectors = response.features
    assert np.frombuffer(response.entities[0].values.data, np.int64).tolist() == [0, 1, 2]
    assert np.frombuffer(response.scores[0].values.data, np.float32).tolist() == [4, 3, 2]
    assert list(titles.values.strings) == ["a", "b", "c"]
    assert list(vectors.values.shape) == [3, 2]
    assert len(vectors.values.data) == 24
    assert list(tags.values.offsets) == [0, 2, 2, 5]
    assert np.frombuffer(tags.values.data, np.int64).tolist() == [0, 1, 2, 3, 4]
    assert tags.statuses == titles.statuses == b"\x01\x05\x01"
    assert response.provenance.release == 7
    assert response.degradations[0].subject == "v"


def test_only_the_features_that_are_asked_for_are_kept() -> None:
    response = pb.PredictResponse.FromString(shortened(answer(), 10, ["v.title"]).body)
    assert [column.name for column in response.features] == ["v.title"]
    assert list(response.entities[0].values.shape) == [4]


def test_body_is_corrupt_when_it_is_no_answer() -> None:
    with pytest.raises(Corrupt):
        shortened(KeptAnswer(b"\xff\xff", 1, 1, 1, degraded=False), 1, [])
    with pytest.raises(Corrupt, match="lacks a feature"):
        shortened(answer(), 1, ["v.price"])
