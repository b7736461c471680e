"""What runs once before a release is in service."""

from dataclasses import replace
from pathlib import Path

from gateway.warm import warm
from runtime.clock import ManualClock
from tests.support.compiled_application import compiled_application


def test_every_model_has_run_and_its_cost_is_known_when_a_release_is_warm(tmp_path: Path) -> None:
    release = compiled_application(tmp_path, ManualClock()).release
    assert all(pipeline.predict.estimate.unit_s is None for pipeline in release.pipelines.values())
    warm(release)
    assert all(pipeline.predict.estimate.unit_s is not None for pipeline in release.pipelines.values())


def test_model_that_refuses_made_up_input_is_left_cold(tmp_path: Path) -> None:
    release = compiled_application(tmp_path, ManualClock()).release
    pipeline = next(iter(release.pipelines.values()))
    predict = replace(pipeline.predict, output_names=("nothing",))
    warm(replace(release, pipelines={pipeline.name: replace(pipeline, predict=predict)}))
    assert predict.estimate.unit_s is None
