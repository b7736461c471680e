"""What every ModelRunner does. An implementation's test file subclasses ModelRunnerSuite and gives
the fixture `runner`: version 3 of the model `ranker`, score = x @ [1, -2, 0.5] + context @ [4] + 0.25.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from forebay.errors import InvalidRequest
from numpy.typing import NDArray

from model_server.outputs import OutputColumn
from model_server.runner import ModelRunner
from model_server.signature import check_signature

WEIGHTS = {"x": [1.0, -2.0, 0.5], "context": [4.0]}
BIAS = 0.25
Inputs = dict[str, NDArray[np.float32]]


def inputs_of(rows: int, seed: int = 0) -> Inputs:
    """Return random inputs of that many rows."""
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal((rows, len(row)), np.float32) for name, row in WEIGHTS.items()}


def expected(inputs: Inputs) -> NDArray[np.float64]:
    """Return the scores, (rows, 1) float64."""
    terms = [inputs[name].astype(np.float64) @ np.array(row) for name, row in WEIGHTS.items()]
    return (np.sum(terms, axis=0) + BIAS)[:, None]


class ModelRunnerSuite:
    """Subclass it, and define the fixture `runner`."""

    def test_it_says_what_it_is_when_asked(self, runner: ModelRunner) -> None:
        assert (runner.name, runner.version) == ("ranker", "3")
        assert {name: str(spec) for name, spec in runner.inputs.items()} == {
            "x": "x: float32(?, 3)",
            "context": "context: float32(?, 1)",
        }
        assert {name: str(spec) for name, spec in runner.outputs.items()} == {"score": "score: float32(?, 1)"}

    @pytest.mark.parametrize("rows", [0, 1, 2, 11, 100, 1_000])
    def test_every_row_is_scored_when_there_are_any_number(self, runner: ModelRunner, rows: int) -> None:
        inputs = inputs_of(rows)
        (score,) = runner.run(inputs, ["score"])
        assert (score.shape, score.dtype) == ((rows, 1), np.float32)
        np.testing.assert_allclose(score, expected(inputs), rtol=1e-5, atol=1e-5)

    def test_outputs_come_as_asked_for_when_repeated_or_none(self, runner: ModelRunner) -> None:
        inputs = inputs_of(2)
        assert len(runner.run(inputs, ["score", "score"])) == 2
        assert runner.run(inputs, []) == []

    def test_nan_marks_only_its_own_row_when_a_value_is_missing(self, runner: ModelRunner) -> None:
        inputs = inputs_of(3)
        inputs["x"][1, 2] = np.nan
        (score,) = runner.run(inputs, ["score"])
        assert np.isnan(score[:, 0]).tolist() == [False, True, False]

    def test_views_are_read_right_when_inputs_are_not_contiguous(self, runner: ModelRunner) -> None:
        wide = inputs_of(7)
        strided = {name: np.repeat(array, 2, axis=1)[:, ::2] for name, array in wide.items()}
        (score,) = runner.run(strided, ["score"])
        np.testing.assert_allclose(score, expected(wide), rtol=1e-5, atol=1e-5)

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"x": None}, "inputs"),
            ({"y": np.zeros((2, 3), np.float32)}, "inputs"),
            ({"x": np.zeros((2, 3))}, "inputs.x"),
            ({"x": np.zeros((2, 4), np.float32)}, "inputs.x"),
            ({"x": np.zeros(2, np.float32)}, "inputs.x"),
            ({"x": np.zeros((2, 3, 1), np.float32)}, "inputs.x"),
            ({"x": np.zeros((3, 3), np.float32)}, "inputs.context"),
        ],
        ids=["missing", "unknown", "float64", "width", "rank 1", "rank 3", "rows"],
    )
    def test_a_run_is_refused_when_its_inputs_do_not_match(
        self, runner: ModelRunner, change: dict[str, NDArray[np.generic] | None], field: str
    ) -> None:
        given = {name: array for name, array in (inputs_of(2) | change).items() if array is not None}
        with pytest.raises(InvalidRequest) as caught:
            runner.run(given, ["score"])
        assert caught.value.field == field

    def test_a_run_is_refused_when_an_output_does_not_exist(self, runner: ModelRunner) -> None:
        with pytest.raises(InvalidRequest, match="score") as caught:
            runner.run(inputs_of(1), ["score", "nothing"])
        assert caught.value.field == "outputs"

    def test_runs_are_right_when_threads_share_the_model(self, runner: ModelRunner) -> None:
        def run(turn: int) -> bool:
            inputs = inputs_of(turn % 50 + 1, turn)
            (score,) = runner.run(inputs, ["score"])
            return bool(np.allclose(score, expected(inputs), rtol=1e-5, atol=1e-5))

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(run, range(300)))

    def test_its_signature_fits_when_declared_as_it_is(self, runner: ModelRunner) -> None:
        widths = {name: (np.dtype(np.float32), len(row)) for name, row in WEIGHTS.items()}
        check_signature(runner, widths, [OutputColumn("s", "score"), OutputColumn("t", "score", 0)])
