"""An application whose store is a cluster, as a user with the rights that docs/redis.md lists and no others:
applied, refreshed, indexed, served, asked, written and deleted from; then a node is killed."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterator

import forebay
import grpc
import pytest
from forebay import Outcome, Status
from forebay.v1 import admin_pb2, features_pb2, features_pb2_grpc

from runtime.redis_connection.slots import slot_of
from tests.support.served_application import ServedApplication, prepare, served
from tests.support.source_files import ROOT
from tests.support.store_cluster import StoreCluster, store_cluster
from tests.support.store_server import program_of
from tests.support.tiny_application import USERS, write_tiny_application

ITEMS = list(range(100, 160))
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster() -> Iterator[StoreCluster]:
    with store_cluster(program_of("redis")) as cluster:
        [line] = re.findall(r"^ACL (SETUSER .*)$", (ROOT / "docs" / "redis.md").read_text(), re.MULTILINE)
        for node in cluster.primaries:
            node.run("ACL", *line.split())
        yield cluster


@pytest.fixture(scope="module")
def gateway(cluster: StoreCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedApplication]:
    directory = tmp_path_factory.mktemp("cluster")
    file = write_tiny_application(directory / "app")
    text = file.read_text()
    file.write_text(
        text.replace("    features:\n      price:", "    near_cache: 1h\n    features:\n      price:")
    )
    url = cluster.url.replace("://", "://forebay:secret@")
    prepare(directory, url, file, ("items",))
    with served(directory, url, "tiny") as gateway:
        yield gateway


@pytest.fixture(scope="module")
def client(gateway: ServedApplication) -> Iterator[forebay.Client]:
    with forebay.Client(gateway.gateway, timeout_s=5.0) as client:
        yield client


def comes_to(condition: Callable[[], bool]) -> None:
    for _ in range(1500):
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("it doesn't come to hold")


def near_cache(gateway: ServedApplication) -> admin_pb2.NearCacheCounts:
    with grpc.insecure_channel(gateway.admin) as channel:
        describe = channel.unary_unary("/forebay.v1.AdminService/DescribeServer", None, None)
        return admin_pb2.DescribeServerResponse.FromString(describe(b"", timeout=5)).near_cache


def test_everything_works_when_the_store_is_a_cluster(
    gateway: ServedApplication, client: forebay.Client
) -> None:
    table = client.features(["item_profile.price", "item_profile.title"], item_id=[*ITEMS, 7])
    assert table.statuses("item_profile.price").tolist() == [Status.PRESENT] * 60 + [Status.NOT_FOUND]
    answer = client.predict("items_for_user", user_id=2, hour=9.0)
    assert len(answer) == 5
    assert list(client.write("item_now", item_id=ITEMS, clicks=ITEMS)) == [Outcome.APPLIED] * 60
    clicks = client.features(["item_now.clicks"], item_id=ITEMS)
    assert clicks.values("item_now.clicks").tolist() == ITEMS
    client.delete("item", item_id=[100])
    table = client.features(["item_profile.price", "item_now.rate"], item_id=[100, 101])
    assert table.statuses("item_profile.price").tolist() == [Status.NOT_FOUND, Status.PRESENT]
    again = gateway.forebay("refresh", "run", "item_profile", "user_profile", "--same-space")
    assert again.returncode == 0, again.stderr
    back = gateway.forebay("refresh", "rollback", "item_profile", "--same-space")
    assert back.returncode == 0, back.stderr
    assert "b" in gateway.forebay("batches").stdout


def test_rows_at_hand_are_counted_when_they_are_read_again(
    gateway: ServedApplication, client: forebay.Client
) -> None:
    for _ in range(3):
        client.features(["item_profile.price"], item_id=ITEMS)
    counts = near_cache(gateway)
    assert counts.hits >= 2 * len(ITEMS)
    assert counts.entries >= len(ITEMS)
    assert 0 < counts.bytes < 1 << 20


def test_only_rows_out_of_reach_are_missed_when_a_node_is_killed(
    cluster: StoreCluster, gateway: ServedApplication, client: forebay.Client
) -> None:
    registry = slot_of(b"tiny")
    [number, *_] = [number for number in range(3) if registry not in cluster.slots(number)]
    os.kill(cluster.primaries[number].store.pid, signal.SIGKILL)
    with grpc.insecure_channel(gateway.gateway) as channel:
        stub = features_pb2_grpc.FeatureServiceStub(channel)
        view = stub.DescribeView(features_pb2.DescribeViewRequest(view="user_profile"), timeout=5).view
    gone = [
        slot_of(b"%d:%d" % (view.entity_id, user)) in cluster.slots(number) for user in range(1, USERS + 1)
    ]
    assert 0 < sum(gone) < USERS
    wanted = [Status.ERROR if is_gone else Status.PRESENT for is_gone in gone]

    def read() -> list[int]:
        try:
            table = client.features(["user_profile.age"], user_id=list(range(1, USERS + 1)))
        except forebay.Error:
            return []
        return [int(status) for status in table.statuses("user_profile.age")]

    comes_to(lambda: read() == wanted)
    there = gone.index(False) + 1
    answer = client.predict("items_for_user", user_id=there, hour=9.0)
    told = {(one.stage, one.subject, one.reason, one.action) for one in answer.degradations}
    assert ("hydrate_candidates", "item_now", "UNAVAILABLE", "DEFAULTS") in told
