"""Precomputed answers over the wire, from a real gateway: given first or instead, whole or in part, and
through whatever may become of them meanwhile."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import forebay
import pytest
from forebay.errors import DeadlineExceeded
from forebay.v1 import admin_pb2, admin_pb2_grpc
from grpc import insecure_channel
from redis import Redis

from runtime.embedded_store import TemporaryStore
from tests.support.precomputed_application import (
    BY_AGE,
    Commands,
    stored_keys,
    write_precomputed_application,
)
from tests.support.served_application import ServedApplication, environment, served

WAIT_S = 20.0


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedApplication]:
    """The application, applied, refreshed, indexed and served."""
    directory = tmp_path_factory.mktemp("served")
    file = write_precomputed_application(directory / "app")
    with pytest.MonkeyPatch.context() as variables, TemporaryStore() as store:
        variables.setenv("FOREBAY_GATEWAY__PRECOMPUTED_WAIT_S", "2")  # a busy machine isn't a slow store
        commands = Commands(directory, store.url, None)
        for command in (("apply", str(file)), ("refresh", "run"), ("index", "build", "items")):
            assert commands(*command).returncode == 0
        with served(directory, store.url, "tiny") as gateway:
            yield gateway


@pytest.fixture
def run(gateway: ServedApplication, capsys: pytest.CaptureFixture[str]) -> Iterator[Commands]:
    """What runs a command; nothing is precomputed before or after."""
    commands = Commands(gateway.directory, gateway.redis_url, capsys)
    yield commands
    for pipeline in {key.split("/")[1].split(":")[0] for key in stored_keys(gateway.redis_url)}:
        commands("precompute", pipeline, "--drop")


@pytest.fixture
def client(gateway: ServedApplication) -> Iterator[forebay.Client]:
    with forebay.Client(gateway.gateway, timeout_s=5.0) as client:
        yield client


def published(run: Commands, client: forebay.Client, *arguments: str) -> dict[str, int]:
    """Precompute, and wait until the gateway serves the release."""
    ended = run("precompute", *arguments, "--json")
    assert ended.returncode == 0, ended.stderr
    made: dict[str, int] = json.loads(ended.stdout)
    give_up_s = time.monotonic() + WAIT_S
    while True:
        answer = client.predict("risk_of_user", user_id=1, amount=1.0)
        if answer.provenance.release >= made["release"]:
            return made
        assert time.monotonic() < give_up_s
        time.sleep(0.02)


def ids(answer: forebay.Answer) -> list[int]:
    return [item.entity["item_id"] for item in answer]


def test_first_gives_what_computing_would(run: Commands, client: forebay.Client) -> None:
    computed = client.predict("first_items", user_id=4, hour=13.0)
    options = ("--by", BY_AGE, "--combinations", "hour=1,7,13,19", "--bin", "hour=6")
    made = published(run, client, "first_items", *options)
    answer = client.predict("first_items", user_id=4, hour=13.0)
    assert answer.provenance.cache == "PRECOMPUTED"
    assert answer.provenance.cache_age_us > 0
    assert answer.provenance.release == made["release"] - 1
    assert (answer.provenance.model, answer.provenance.index) == ("hourly", "items")
    assert not answer.degradations
    assert ids(answer) == ids(computed)
    assert [item.scores["score"] for item in answer] == [item.scores["score"] for item in computed]
    assert [stage.stage for stage in answer.provenance.stages] == ["admit", "recall", "precomputed"]
    assert (
        answer.provenance.prediction_id != client.predict("first_items", user_id=4).provenance.prediction_id
    )
    same_bin = client.predict("first_items", user_id=4, hour=17.5)
    assert same_bin.provenance.cache == "PRECOMPUTED"
    assert client.predict("first_items", user_id=4, hour=30.0).provenance.cache != "PRECOMPUTED"


def test_a_request_gets_the_part_that_it_asks_for(run: Commands, client: forebay.Client) -> None:
    title, price = "item_profile.title", "item_profile.price"
    options = ("--by", BY_AGE, "--rows", "8", "--return-feature", title)
    published(run, client, "first_items", *options)

    def ask(**wanted: object) -> forebay.Answer:
        return client.predict("first_items", user_id=4, **wanted)

    assert (len(ask()), ask().provenance.cache) == (5, "PRECOMPUTED")
    assert ids(ask(top=8))[:3] == ids(ask(top=3))
    part = ask(top=2, return_features=[title])
    assert part.provenance.cache == "PRECOMPUTED"
    assert [item.features[title] for item in part] == [f"item {number} ü" for number in ids(part)]
    assert ask(top=9).provenance.cache != "PRECOMPUTED"
    assert ask(return_features=[title, price]).provenance.cache != "PRECOMPUTED"


def test_an_input_that_was_held_fixed_must_agree_to_be_given_first(
    run: Commands, client: forebay.Client
) -> None:
    published(run, client, "first_items", "--by", BY_AGE, "--top", "5")
    found = {
        user: client.predict("first_items", user_id=user, hour=12.0).provenance.cache for user in range(1, 21)
    }
    assert list(found.values()).count("PRECOMPUTED") == 5
    covered = next(user for user, cache in found.items() if cache == "PRECOMPUTED")
    assert client.predict("first_items", user_id=covered).provenance.cache == "PRECOMPUTED"
    assert client.predict("first_items", user_id=covered, hour=13.0).provenance.cache != "PRECOMPUTED"


def test_one_row_is_given_by_the_bins_of_the_cache_key(run: Commands, client: forebay.Client) -> None:
    published(run, client, "first_risk", "--by", BY_AGE, "--combinations", "amount=50,150")
    [item] = client.predict("first_risk", user_id=3, amount=120.0)
    [exact] = client.predict("risk_of_user", user_id=3, amount=150.0)
    assert item.scores["risk"] == exact.scores["risk"]
    assert client.predict("first_risk", user_id=3, amount=250.0).provenance.cache != "PRECOMPUTED"


def test_fallback_stands_in_where_the_model_has_no_time(run: Commands, client: forebay.Client) -> None:
    with pytest.raises(DeadlineExceeded):
        client.predict("helped_items", user_id=4)
    published(run, client, "helped_items", "--by", BY_AGE)
    for _ in range(3):  # once in 100 ms the model is tried all the same, and may be quick
        answer = client.predict("helped_items", user_id=4, hour=20.0, top=3)
        if answer.provenance.cache != "OFF":
            break
    assert (len(answer), answer.provenance.cache) == (3, "PRECOMPUTED")
    [degradation] = answer.degradations
    assert (degradation.stage, degradation.action) == ("predict", "PRECOMPUTED")
    assert degradation.reason in ("NO_TIME", "TIMEOUT")


def test_answers_are_carried_through_later_releases_with_their_own_provenance(
    run: Commands, client: forebay.Client, gateway: ServedApplication
) -> None:
    made = published(run, client, "first_items", "--by", BY_AGE)
    assert run("refresh", "run", "user_profile", "--same-space").returncode == 0
    give_up_s = time.monotonic() + WAIT_S
    while client.predict("risk_of_user", user_id=1, amount=1.0).provenance.release <= made["release"]:
        assert time.monotonic() < give_up_s
        time.sleep(0.02)
    answer = client.predict("first_items", user_id=4)
    assert (answer.provenance.cache, answer.provenance.release) == ("PRECOMPUTED", made["release"] - 1)


def test_server_says_what_is_not_covered(
    run: Commands, client: forebay.Client, gateway: ServedApplication
) -> None:
    def uncovered() -> dict[str, str]:
        with insecure_channel(gateway.admin) as channel:
            admin = admin_pb2_grpc.AdminServiceStub(channel)
            described = admin.DescribeServer(admin_pb2.DescribeServerRequest(), timeout=5)
        return {one.name: one.uncovered for one in described.pipelines}

    give_up_s = time.monotonic() + WAIT_S
    while "nothing is precomputed for it" not in uncovered()["first_items"]:
        assert time.monotonic() < give_up_s  # what an earlier test left is dropped, but perhaps served still
    assert uncovered()["risk_of_user"] == ""
    published(run, client, "first_items", "--by", BY_AGE)
    assert uncovered()["first_items"] == ""


def test_killed_half_way_leaves_what_is_live_and_is_swept_by_the_next_run(
    run: Commands, client: forebay.Client, gateway: ServedApplication
) -> None:
    made = published(run, client, "first_items", "--by", BY_AGE)
    hours = ",".join(str(number / 100) for number in range(1000))
    command = ["precompute", "first_items", "--by", BY_AGE, "--combinations", f"hour={hours}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "cli.main", *command],
        cwd=gateway.directory,
        env={**environment(), "FOREBAY_REDIS_URL": gateway.redis_url},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    half = f"first_items:{made['version'] + 1}"
    give_up_s = time.monotonic() + WAIT_S * 2
    with Redis.from_url(gateway.redis_url) as redis:
        while next(redis.scan_iter(f"p{{*/{half}", count=10_000), None) is None:
            assert process.poll() is None
            assert time.monotonic() < give_up_s
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    left = [key for key in stored_keys(gateway.redis_url) if key.endswith(half)]
    assert 0 < len(left) < 20_000
    answer = client.predict("first_items", user_id=4)
    assert (answer.provenance.cache, answer.provenance.release) == ("PRECOMPUTED", made["release"] - 1)
    again = published(run, client, "first_items", "--by", BY_AGE)
    versions = {int(key.rsplit(":", 1)[1]) for key in stored_keys(gateway.redis_url)}
    assert versions == {made["version"], again["version"]}
