"""`forebay precompute` as a person types it, on a real store: what is made, refused, shown, taken back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from cli import main
from runtime.embedded_store import TemporaryStore
from tests.support.precomputed_application import (
    BY_AGE,
    Commands,
    stored_keys,
    write_precomputed_application,
)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, TemporaryStore]]:
    """The application applied, refreshed and indexed, and its store."""
    directory = tmp_path_factory.mktemp("precomputed")
    file = write_precomputed_application(directory / "app")
    with TemporaryStore() as store, pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        patch.setenv("FOREBAY_REDIS_URL", store.url)
        for command in (("apply", str(file)), ("refresh", "run"), ("index", "build", "items")):
            assert main.run(command) == 0
        yield directory, store


@pytest.fixture
def run(prepared: tuple[Path, TemporaryStore], capsys: pytest.CaptureFixture[str]) -> Iterator[Commands]:
    """Return what runs a command; nothing is precomputed before or after."""
    directory, store = prepared
    commands = Commands(directory, store.url, capsys)
    yield commands
    for pipeline in {key.split("/")[1].split(":")[0] for key in stored_keys(store.url)}:
        commands("precompute", pipeline, "--drop")
    assert stored_keys(store.url) == []


def status(run: Commands, pipeline: str) -> dict[str, object]:
    [row] = json.loads(run("precompute", pipeline, "--status", "--json").stdout)
    assert isinstance(row, dict)
    return row


def test_answers_are_made_for_the_first_of_a_ranking(run: Commands) -> None:
    ended = run("precompute", "first_items", "--by", BY_AGE, "--top", "6", "--json")
    assert ended.returncode == 0, ended.stderr
    made = json.loads(ended.stdout)
    assert (made["answers"], made["entities"], made["rows"], made["failed"]) == (6, 6, 5, 0)
    keys = stored_keys(run.redis_url)
    assert len(keys) == 6
    assert all(key.endswith(f"}}tiny/first_items:{made['version']}") for key in keys)
    row = status(run, "first_items")
    assert (row["entities"], row["of"], row["coverage"]) == (6, 20, 0.3)
    assert (row["version"], row["changed_since"], row["problem"]) == (made["version"], [], "")


def test_every_combination_is_made_and_told_apart_by_bins(run: Commands) -> None:
    options = ("--combinations", "hour=0,6,12,18", "--bin", "hour=6", "--top", "3", "--by", BY_AGE)
    ended = run("precompute", "first_items", *options)
    assert ended.returncode == 0, ended.stderr
    assert "12 answers for 3 entities" in ended.stdout
    texts = {key[2 : key.index("}")] for key in stored_keys(run.redis_url)}
    assert {text.split(":")[1] for text in texts} == {"0", "1", "2", "3"}


def test_sql_may_rank_combinations_itself(run: Commands) -> None:
    sql = "select user_id, 6.0 * (user_id % 4) as hour from users order by user_id"
    ended = run("precompute", "first_items", "--by", sql, "--bin", "hour=6")
    assert ended.returncode == 0, ended.stderr
    texts = {key[: key.index("}")] for key in stored_keys(run.redis_url)}
    assert texts == {f"p{{{user}:{user % 4}" for user in range(1, 21)}


def test_bins_of_the_cache_key_hold_when_none_are_said(run: Commands) -> None:
    ended = run("precompute", "first_risk", "--by", BY_AGE, "--combinations", "amount=10,150")
    assert ended.returncode == 0, ended.stderr
    assert {key[2 : key.index("}")].split(":")[1] for key in stored_keys(run.redis_url)} == {"0", "1"}


def test_combinations_alone_name_the_entities(run: Commands) -> None:
    options = ("--combinations", "user_id=1,2,3", "--combinations", "amount=10")
    ended = run("precompute", "first_risk", *options)
    assert ended.returncode == 0, ended.stderr
    assert "3 answers for 3 entities" in ended.stdout
    assert [key[: key.index("}")] for key in stored_keys(run.redis_url)] == ["p{1:0", "p{2:0", "p{3:0"]


def test_new_version_replaces_the_last_and_the_one_before_that_goes(run: Commands) -> None:
    versions = []
    for top in ("5", "6", "7"):
        ended = run("precompute", "first_items", "--by", BY_AGE, "--top", top, "--json")
        versions.append(json.loads(ended.stdout)["version"])
    left = [int(key.rsplit(":", 1)[1]) for key in stored_keys(run.redis_url)]
    assert (left.count(versions[1]), left.count(versions[2])) == (6, 7)
    assert versions[0] not in left
    assert run("precompute", "first_items", "--rollback").returncode == 0
    assert status(run, "first_items")["version"] == versions[1]
    assert run("precompute", "first_items", "--rollback").returncode == 1


def test_what_is_live_is_made_again_when_nothing_else_is_said(run: Commands) -> None:
    options = ("--by", BY_AGE, "--top", "4", "--combinations", "hour=0,6", "--rows", "7")
    first = json.loads(run("precompute", "first_items", *options, "--json").stdout)
    again = json.loads(run("precompute", "first_items", "--json").stdout)
    assert again["version"] == first["version"] + 1
    assert [again[name] for name in ("answers", "entities", "rows")] == [8, 4, 7]


def test_dropped_answers_are_gone_from_the_store_and_the_release(run: Commands) -> None:
    run("precompute", "first_items", "--by", BY_AGE)
    ended = run("precompute", "first_items", "--drop", "--json")
    assert json.loads(ended.stdout)["removed"] == 20
    assert stored_keys(run.redis_url) == []
    assert "nothing is precomputed for it" in str(status(run, "first_items")["problem"])


def test_rows_with_nulls_and_repeated_rows_are_left_out_and_told(run: Commands) -> None:
    sql = "select unnest([3, null, 3, 4]) as user_id"
    ended = run("precompute", "first_items", "--by", sql)
    assert ended.returncode == 0
    assert "2 answers for 2 entities" in ended.stdout
    assert "1 rows of the ranking hold a null" in ended.stderr
    assert "1 rows of the ranking repeat an earlier one" in ended.stderr


def test_entities_without_rows_are_answered_as_they_would_be_and_told(run: Commands) -> None:
    ended = run(
        "precompute", "first_risk", "--combinations", "user_id=1,9999", "--combinations", "amount=1", "--json"
    )
    assert ended.returncode == 0, ended.stderr
    made = json.loads(ended.stdout)
    assert (made["answers"], made["degraded"]) == (2, 1)
    assert "1 answers had to do without features" in ended.stderr


def test_answers_that_their_data_does_not_allow_are_left_out(run: Commands) -> None:
    options = ("--combinations", "user_id=1,9999", "--combinations", "amount=1", "--json")
    made = json.loads(run("precompute", "strict_first", *options).stdout)
    assert (made["answers"], made["failed"]) == (1, 1)
    ended = run("precompute", "strict_first", "--combinations", "user_id=9999", "--combinations", "amount=1")
    assert ended.returncode == 1
    assert "none of 1 answers could be made" in ended.stderr
    assert status(run, "strict_first")["version"] == made["version"]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["nothing", "--by", BY_AGE], 2, "tiny has no pipeline 'nothing'; its pipelines: items_for_user"),
        (["items_for_user", "--by", BY_AGE], 3, "declare `precomputed: first`"),
        (["first_rated", "--by", BY_AGE], 3, "candidates from the request"),
        (["first_items"], 2, "nothing is precomputed for pipeline first_items that could be made again"),
        (["first_items", "--top", "5"], 2, "say for which entities"),
        ([], 2, "name a PIPELINE"),
        (["first_items", "--by", BY_AGE, "--drop"], 2, "stand alone"),
        (["first_items", "--by", "select item_id as user_id from itemz"], 2, "by: "),
        (["first_items", "--by", "selec user_id"], 2, "by: "),
        (["first_items", "--by", "select age from users"], 2, "lacks user_id"),
        (["first_items", "--by", "select user_id, age from users"], 2, "returns age, which is no input"),
        (["first_items", "--by", "select 'x' as user_id"], 1, "column user_id can't be int64"),
        (["first_items", "--by", "select 1.5::double as user_id"], 1, "column user_id can't be int64"),
        (
            ["first_items", "--by", "select user_id, 1e39 as hour from users"],
            1,
            "a value is out of the range of float32",
        ),
        (["first_items", "--by", "select user_id from users limit 0"], 3, "returns no rows"),
        (["first_items", "--by", "select null::bigint as user_id"], 3, "1 without"),
        (["first_items", "--by", BY_AGE, "--combinations", "hour"], 2, "not of the form"),
        (["first_items", "--by", BY_AGE, "--combinations", "day=1"], 2, "takes no 'day'"),
        (["first_items", "--by", BY_AGE, "--combinations", "hour=noon"], 2, "'noon' is no float32"),
        (["first_items", "--by", BY_AGE, "--combinations", "hour=nan"], 2, "finite"),
        (["first_items", "--by", BY_AGE, "--combinations", "hour=1,1"], 2, "given twice"),
        (["first_items", "--by", BY_AGE, "--combinations", "user_id=1"], 2, "returns user_id already"),
        (
            ["first_items", "--by", BY_AGE, "--combinations", "hour=1,2", "--bin", "hour=6"],
            2,
            "1.0 and 2.0 fall into one bin",
        ),
        (["first_items", "--by", BY_AGE, "--bin", "hour=0"], 2, "width above 0"),
        (["first_items", "--by", BY_AGE, "--bin", "user_id=5"], 2, "key field"),
        (["first_items", "--by", BY_AGE, "--return-feature", "item_now.clicks"], 2, "doesn't read"),
        (["first_items", "--by", BY_AGE, "--rows", "0"], 2, "0 is not in the range"),
        (["first_risk", "--combinations", "user_id=1"], 2, "needs amount"),
        (["first_risk", "--combinations", "amount=1"], 2, "needs user_id"),
        (["first_risk", "--combinations", "user_id=1", "--rows", "5"], 2, "answers one row"),
        (["first_items", "--rollback"], 1, "no earlier precomputed answers"),
    ],
)
def test_what_cannot_be_precomputed_is_said(
    run: Commands, arguments: list[str], code: int, says: str
) -> None:
    ended = run("precompute", *arguments)
    assert (ended.returncode, stored_keys(run.redis_url)) == (code, []), ended
    assert says in ended.stderr
    assert "Traceback" not in ended.stderr


def test_store_without_room_refuses_and_keeps_what_is_live(run: Commands) -> None:
    before = json.loads(run("precompute", "first_items", "--by", BY_AGE, "--json").stdout)
    with Redis.from_url(run.redis_url) as redis:
        used = int(redis.info("memory")["used_memory"])
        redis.config_set("maxmemory", used + 200_000)
        try:
            hours = ",".join(str(hour) for hour in range(200))
            options = ("--by", BY_AGE, "--combinations", f"hour={hours}")
            ended = run("precompute", "first_items", *options)
        finally:
            redis.config_set("maxmemory", 0)
    assert ended.returncode in (1, 3)
    assert "maxmemory" in ended.stderr or "memory" in ended.stderr
    assert status(run, "first_items")["version"] == before["version"]
    assert {key.rsplit(":", 1)[1] for key in stored_keys(run.redis_url)} == {str(before["version"])}


def test_pipelines_without_coverage_are_told_by_apply_refresh_and_doctor(run: Commands) -> None:
    says = (
        "pipeline first_items: nothing is precomputed for it: run `forebay precompute first_items --by SQL`"
    )
    assert f"! {says}" in run("plan", "app/tiny.yaml").stdout
    assert "first_rated" not in " ".join(json.loads(run("plan", "app/tiny.yaml", "--json").stdout)["costs"])
    found = json.loads(run("doctor", "--json").stdout)
    [check] = [check for check in found if check["name"] == "precomputed first_items"]
    assert (check["state"], "nothing is precomputed" in check["detail"]) == ("warn", True)
    run("precompute", "first_items", "--by", BY_AGE)
    ended = run("refresh", "run", "user_profile", "--same-space", "--json")
    remarks = " ".join(json.loads(ended.stdout)["remarks"])
    assert "pipeline first_items: its precomputed answers are older than user_profile" in remarks
    assert status(run, "first_items")["changed_since"] == ["view user_profile"]
    found = json.loads(run("doctor", "--json").stdout)
    [check] = [check for check in found if check["name"] == "precomputed first_items"]
    assert (check["state"], "published since: view user_profile" in check["detail"]) == ("ok", True)


def test_what_was_made_is_listed_with_releases_and_batches(run: Commands) -> None:
    made = json.loads(run("precompute", "first_items", "--by", BY_AGE, "--json").stdout)
    [newest, *_] = json.loads(run("releases", "--json").stdout)
    assert newest["precomputed"]["first_items"]["version"] == made["version"]
    [batch, *_] = json.loads(run("batches", "--json").stdout)
    assert (batch["kind"], batch["status"], batch["pipelines"]) == ("precompute", "done", ["first_items"])
    assert batch["row_count"] == 20
