"""The commands as a person types them, on a real store: what they print and how they exit."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from redis import Redis

from cli import main
from runtime.embedded_store import TemporaryStore
from tests.support.served_application import forebay, forebay_process
from tests.support.tiny_application import YAML, write_tiny_application


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it printed."""

    returncode: int
    stdout: str
    stderr: str


Forebay = Callable[..., Ended]

TEN_MISTAKES = """\
app: tiny shop
entities:
  user: {key: {user_id: int63}}
sources:
  users: {parquett: users.parquet}
views:
  profile:
    entity: usr
    batch: {source: userz}
    max_age: 30 days
    features: {age: float31, taste: "float32[0]"}
indexes:
  items: {entity: user, vector: profile.nothing, metric: euclid}
pipelines:
  home: {entities: [user], predict: ranker}
"""


@pytest.fixture(scope="module")
def store() -> Iterator[TemporaryStore]:
    with TemporaryStore() as store:
        yield store


@pytest.fixture
def run(
    tmp_path: Path,
    store: TemporaryStore,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Forebay:
    """Return what runs a command in an empty directory on an empty store, in this process."""
    with Redis.from_url(store.url) as redis:
        redis.flushall()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FOREBAY_REDIS_URL", store.url)

    def command(*args: str) -> Ended:
        capsys.readouterr()
        code = main.run(args)
        return Ended(code, *capsys.readouterr())

    return command


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_tiny_application(tmp_path / "app")


def test_ten_mistakes_are_printed_at_once_with_their_lines(run: Forebay, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(TEN_MISTAKES)
    ended = run("apply", "bad.yaml")
    assert ended.returncode == 2
    lines = ended.stderr.splitlines()
    assert len(lines) >= 10
    assert all(line.startswith("bad.yaml:") for line in lines)
    assert "bad.yaml:3: entities.user.key.user_id: unknown dtype 'int63'" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_plan_shows_the_difference_and_changes_nothing(run: Forebay, file: Path) -> None:
    ended = run("plan", str(file))
    assert ended.returncode == 0
    assert "+ views.user_profile" in ended.stdout
    assert run("releases", "--app", "tiny").returncode == 1
    assert run("apply", str(file)).returncode == 0
    file.write_text(YAML.replace("max_age: 30d", "max_age: 10d"))
    assert "~ views.user_profile.max_age: 30d -> 10d" in run("apply", str(file), "--dry-run").stdout


def test_what_is_not_there_yet_is_a_warning(run: Forebay, file: Path) -> None:
    (file.parent / "data" / "users.parquet").unlink()
    (file.parent / "models" / "risk" / "1" / "model.onnx").unlink()
    file.write_text(YAML.replace("inputs: {x: [user_profile.age, item", "inputs: {x: [item"))
    for command in ("plan", "apply"):
        ended = run(command, str(file))
        assert ended.returncode == 0
        assert f"warning: {file}:6: sources.users.parquet: there is no file" in ended.stderr
        assert "models.risk: has no version in its repository: put one at models/risk/1" in ended.stderr
        assert "model rater version 1 doesn't fit its declaration" in ended.stderr
        assert "ranker" not in ended.stderr


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("select item_id, price from itemz", "unknown table 'itemz': did you mean 'items'?"),
        ("selec price from items", "syntax error"),
    ],
)
def test_sql_that_cannot_run_is_a_mistake_with_its_line(
    run: Forebay, file: Path, sql: str, says: str
) -> None:
    file.write_text(YAML.replace("select item_id, price, stock, title, vector from items", sql))
    for command in ("plan", "apply"):
        ended = run(command, str(file))
        assert ended.returncode == 2
        assert f"{file}:20: views.item_profile.batch.sql: " in ended.stderr
        assert says in ended.stderr
    assert run("releases", "--app", "tiny").returncode == 1


def test_cost_of_a_change_is_told(run: Forebay, file: Path) -> None:
    cost = "view item_profile has no rows until `forebay refresh run item_profile`; pipelines: items_for_user"
    assert f"! {cost}" in run("plan", str(file)).stdout
    costs = json.loads(run("apply", str(file), "--json").stdout)["costs"]
    assert any(text.startswith(cost) for text in costs)
    run("refresh", "run")
    file.write_text(YAML.replace("country: string", "country: string\n      joined: timestamp"))
    ended = run("apply", str(file))
    assert "! view user_profile: joined read null" in ended.stdout
    assert json.loads(run("apply", str(file), "--json").stdout)["costs"] == []


def test_wrong_sql_is_bad_usage_whatever_is_wrong_with_it(run: Forebay, file: Path) -> None:
    file.write_text(YAML.replace("select item_id, price, stock", "select item_id, prize as price, stock"))
    assert run("apply", str(file)).returncode == 0
    ended = run("refresh", "run")
    assert ended.returncode == 2
    assert "source items has the columns item_id, price" in ended.stderr


def test_change_that_rows_cannot_survive_is_refused(run: Forebay, file: Path) -> None:
    run("apply", str(file))
    file.write_text(YAML.replace("user_id: int64", "user_id: int32"))
    ended = run("apply", str(file))
    assert ended.returncode == 3
    assert "entities.user.key" in ended.stderr


def test_first_application_gets_from_file_to_live_index(run: Forebay, file: Path) -> None:
    applied = json.loads(run("apply", str(file), "--json").stdout)
    assert (applied["plan"], applied["release"]) == (1, 1)
    refreshed = json.loads(run("refresh", "run", "--json").stdout)
    assert {row["view"]: row["rows"] for row in refreshed["views"]} == {
        "user_profile": 20,
        "item_profile": 60,
    }
    built = json.loads(run("index", "build", "items", "--json").stdout)
    assert (built["version"], built["count"], built["published"]) == ("1", 60, True)
    [listed] = json.loads(run("index", "list", "--json").stdout)
    assert (listed["version"], listed["live"]) == ("1", True)
    [batch] = json.loads(run("batches", "--json").stdout)
    assert (batch["status"], batch["row_count"]) == ("done", 80)
    newest = json.loads(run("releases", "--json").stdout)[0]
    assert newest["indexes"] == {"items": {"version": "1"}}
    assert newest["models"]["ranker"] == {"champion": "1"}


def test_tables_are_printed_for_people(run: Forebay, file: Path) -> None:
    prepare(run, file)
    for command in (["index", "list"], ["releases"], ["batches"]):
        ended = run(*command)
        assert ended.returncode == 0
        assert "items" in ended.stdout or "user_profile" in ended.stdout


def test_refresh_of_half_a_space_is_refused_by_a_rule(run: Forebay, file: Path) -> None:
    run("apply", str(file))
    ended = run("refresh", "run", "item_profile")
    assert ended.returncode == 3
    assert "--same-space" in ended.stderr
    assert run("refresh", "run", "item_profile", "--same-space").returncode == 0


def test_index_below_its_bar_is_kept_and_not_published(run: Forebay, file: Path) -> None:
    bar = "metric: inner_product, publish_if: {p99_ms: 0.000001}"
    file.write_text(YAML.replace("metric: inner_product", bar))
    run("apply", str(file))
    run("refresh", "run")
    assert run("index", "build", "items").returncode == 3
    assert run("index", "publish", "items", "1").returncode == 0
    assert run("index", "build", "items", "--no-publish").returncode == 0
    assert [row["live"] for row in json.loads(run("index", "list", "--json").stdout)] == [True, False]


def test_column_that_is_not_there_is_named_with_those_that_are(run: Forebay, file: Path) -> None:
    file.write_text(YAML.replace("country: string", "language: string"))
    run("apply", str(file))
    ended = run("refresh", "run")
    assert ended.returncode == 1
    assert "source users has no column language" in ended.stderr
    assert "country" in ended.stderr


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (["refresh", "run"], 1, "no application is applied"),
        (["index", "build", "items"], 1, "no application is applied"),
        (["serve", "--bind", "127.0.0.1:0", "--admin", "127.0.0.1:0"], 1, "no application is applied"),
        (["serve", "--app", "x", "--bind", "127.0.0.1:0", "--admin", "127.0.0.1:0"], 1, "application x"),
        (["releases", "--app", "x"], 1, "no application x is applied"),
        (["batches", "--app", "x", "--json"], 1, "no application x is applied"),
        (["releases", "--redis", "redis://127.0.0.1:1"], 1, "127.0.0.1:1"),
        (["releases", "--redis", "ftp://127.0.0.1"], 2, "redis://"),
        (["trace", "--admin", "127.0.0.1:1"], 1, "no forebay server answers"),
        (["serve", "--app", "x", "--bind", "nowhere"], 2, "server.bind"),
    ],
)
def test_failure_is_a_line_and_an_exit_code(run: Forebay, args: list[str], code: int, says: str) -> None:
    ended = run(*args)
    assert ended.returncode == code, ended.stderr
    assert says in ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ""


def test_application_must_be_named_when_several_are_applied(run: Forebay, file: Path) -> None:
    run("apply", str(file))
    other = file.with_name("other.yaml")
    other.write_text("app: other\n" + YAML.partition("\n")[2])
    run("apply", str(other))
    ended = run("releases")
    assert ended.returncode == 2
    assert "other, tiny" in ended.stderr
    assert run("releases", "--app", "other").returncode == 0


def test_doctor_says_what_to_do_next(run: Forebay, file: Path) -> None:
    run("apply", str(file))
    checks = {check["name"]: check for check in json.loads(run("doctor", "--json").stdout)}
    assert checks["view user_profile"]["fix"] == "run `forebay refresh run user_profile`"
    assert checks["index items"]["fix"] == "run `forebay index build items`"
    prepare(run, file)
    ended = run("doctor")
    assert ended.returncode == 0, ended.stdout
    assert "index items: version 1" in ended.stdout
    assert run("doctor", "--app", "nothing").returncode == 1


def test_doctor_fails_when_a_live_model_is_gone(run: Forebay, file: Path) -> None:
    run("apply", str(file))
    (file.parent / "models" / "ranker" / "1" / "model.onnx").unlink()
    ended = run("doctor")
    assert ended.returncode == 1
    assert "FAIL  model ranker" in ended.stdout


def test_doctor_fails_when_the_live_index_is_truncated(run: Forebay, file: Path) -> None:
    prepare(run, file)
    [index] = Path.cwd().glob("**/indexes/items/1/index.faiss")
    index.chmod(0o644)
    os.truncate(index, 100)
    ended = run("doctor")
    assert ended.returncode == 1
    assert "FAIL  index items: version 1 is live, but broken" in ended.stdout


def test_processes_share_the_embedded_store_when_no_url_is_set(tmp_path: Path, file: Path) -> None:
    try:
        assert forebay_process(tmp_path, "", "apply", str(file)).returncode == 0
        assert len(json.loads(forebay(tmp_path, "", "releases", "--json").stdout)) == 1
        assert (tmp_path / ".forebay").is_dir()
        assert forebay_process(tmp_path, "", "store", "stop").stdout == "stopped\n"
        assert len(json.loads(forebay(tmp_path, "", "releases", "--json").stdout)) == 1
    finally:
        forebay(tmp_path, "", "store", "stop")


def prepare(run: Forebay, file: Path) -> None:
    for command in (["apply", str(file)], ["refresh", "run"], ["index", "build", "items"]):
        ended = run(*command)
        assert ended.returncode == 0, ended.stderr
