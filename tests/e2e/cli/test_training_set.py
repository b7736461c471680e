"""`forebay training-set` and `forebay tune refresh` as a person types them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx
import pyarrow.parquet as pq
import pytest

from cli import main
from runtime.embedded_store import TemporaryStore
from tests.support.tiny_models import linear

YAML = """\
app: shop
entities: {user: {key: {user_id: int64}}}
sources: {visits: {csv: visits.csv, event_time: at}, ages: {csv: ages.csv}}
views:
  user_visits: {entity: user, batch: {source: visits}, features: {visits: {dtype: float32, default: 0}}}
  user_age: {entity: user, batch: {source: ages}, features: {age: float32}}
models:
  ranker: {repository: models, inputs: {x: [user_visits.visits]}, outputs: {score: score}}
pipelines:
  will_buy: {entities: [user], hydrate: [user_visits], predict: ranker}
"""
LABELS = "select user_id, visits > 2 as bought, visits.at as event_time from visits"

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("shop")
    (directory / "app.yaml").write_text(YAML)
    rows = [f"{user},2023-01-0{day} 12:00:00,{user + day - 2}" for user in (1, 2) for day in (1, 2, 3)]
    (directory / "visits.csv").write_text("\n".join(["user_id,at,visits", *rows]) + "\n")
    (directory / "ages.csv").write_text("user_id,age\n1,30\n")
    model = directory / "models/ranker/1/model.onnx"
    model.parent.mkdir(parents=True)
    onnx.save(linear({"x": [1.0]}), model)
    return directory


@pytest.fixture(scope="module")
def store() -> Iterator[TemporaryStore]:
    with TemporaryStore() as store:
        yield store


@pytest.fixture
def forebay(
    shop: Path, store: TemporaryStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    monkeypatch.chdir(shop)
    monkeypatch.setenv("FOREBAY_REDIS_URL", store.url)

    def command(*args: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main.run(args)
        return code, *capsys.readouterr()

    assert command("apply", "app.yaml")[0] == 0
    return command


def test_training_set_is_written_and_summed_up(forebay: Command) -> None:
    arguments = ("training-set", "user_visits", "user_age", "--labels", LABELS, "--output", "set.parquet")
    code, _, errors = forebay(*arguments)
    assert code == 2
    assert "--as-is user_age" in errors
    assert not Path("set.parquet").exists()
    code, output, errors = forebay(*arguments, "--as-is", "user_age", "--json")
    assert code == 0
    assert "view user_age was joined AS IT IS TODAY" in errors
    figures: dict[str, Any] = json.loads(output)
    assert figures["labels"] == 6
    assert figures["features"]["user_age.age"] == {"PRESENT": 3, "NOT_FOUND": 3}
    assert [view["join"] for view in figures["views"]] == ["as of", "as is"]
    assert pq.read_table("set.parquet").num_rows == 6
    code, output, _ = forebay(*arguments, "--as-is", "user_age", "--refreshed", "user_visits=1d")
    assert code == 0
    assert "every 1d" in output
    assert "6 labels, 2023-01-01 12:00:00Z to 2023-01-03 12:00:00Z" in output
    table = pq.read_table("set.parquet").sort_by([("user_id", "ascending"), ("event_time", "ascending")])
    assert table["user_visits.visits"].to_pylist() == [0, 0, 1, 0, 1, 2]


def test_mistakes_are_told_in_a_line(forebay: Command) -> None:
    given = ("--labels", LABELS, "--output", "set.parquet")
    for arguments, says in (
        (("user_visits", *given, "--refreshed", "user_visits=often"), "--refreshed takes VIEW=INTERVAL"),
        (("user_visits", *given, "--time", "when"), "no column when, the label's time"),
        (("nothing", *given), "there is no view, feature or pipeline 'nothing'"),
    ):
        code, _, errors = forebay("training-set", *arguments)
        assert code in (1, 2)
        assert says in errors
    assert forebay("training-set", "user_visits")[0] == 2


def test_refresh_is_tuned_and_refused_when_no_interval_is_good_enough(forebay: Command) -> None:
    arguments = ["tune", "refresh", "user_visits", "--pipeline", "will_buy", "--outcome", "bought"]
    arguments += ["--labels", LABELS, "--draws", "20", "--intervals", "1h,12h,1d,7d"]
    code, output, _ = forebay(*arguments, "--threshold", "0.1", "--report", "report.json")
    assert code == 0
    assert "refresh user_visits every" in output
    report = json.loads(Path("report.json").read_text())
    assert report["chosen"] in output
    assert report["steps"][0]["every_us"] is None
    code, output, errors = forebay(*arguments, "--threshold", "1.5", "--json")
    assert code == 3
    assert json.loads(output)["chosen"] is None
    assert "refused: no interval keeps auc at the threshold (1.5)" in errors
