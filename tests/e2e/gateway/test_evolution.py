"""Changes of a live application: allowed ones under a stream of reads, in which no value is ever a wrong one;
and those that are refused."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import forebay
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from forebay import Outcome, Status

from runtime.embedded_store import TemporaryStore
from tests.support.served_application import Ended, prepare, served
from tests.support.served_application import forebay as run
from tests.support.tiny_application import write_linear_model

KEYS = list(range(1, 41))
TEXT = """\
app: evolving
entities: {thing: {key: {id: int64}}}
sources: {things: {parquet: things.parquet}}
views:
  swapped:
    entity: thing
    batch: {source: things}
    features: {SWAPPED}
  written:
    entity: thing
    features: {WRITTEN}
models: {echo: {repository: models, inputs: {x: [COLUMNS]}, outputs: {score: y}}}
pipelines:
  echo: {entities: [thing], hydrate: [swapped, written], predict: echo}
"""
PARTS = {
    "SWAPPED": "size: int32, note: string",
    "WRITTEN": 'count: int32, ratio: float32, name: string, tags: "int32[]", pair: "float32[2]"',
    "COLUMNS": "swapped.size, written.count",
}
EXPECTED: dict[str, Callable[[int], object]] = {
    "swapped.size": lambda key: 10 * key,
    "swapped.note": lambda key: f"n{key}",
    "written.count": lambda key: 100 * key,
    "written.ratio": lambda key: key / 4,
    "written.name": str,
    "written.tags": lambda key: [key, key + 1],
    "written.pair": lambda key: [key, -key],
}
SCORE = 10 * 7 + 100 * 7
"""Of key 7, in every form that the application takes."""


@dataclass
class Evolving:
    """The application's file, and the store that it is applied to."""

    directory: Path
    url: str
    parts: dict[str, str] = field(default_factory=lambda: dict(PARTS))

    @property
    def file(self) -> Path:
        return self.directory / "evolving.yaml"

    def write(self, **parts: str) -> None:
        text = TEXT
        for name, value in {**self.parts, **parts}.items():
            text = text.replace(name, value)
        self.file.write_text(text)

    def run(self, *command: str) -> Ended:
        return run(self.directory, self.url, *command, "--app", "evolving")

    def release(self) -> int:
        return int(json.loads(self.run("releases", "--json").stdout)[0]["number"])

    def change(self, client: forebay.Client, **parts: str) -> None:
        """Apply a change that is allowed; return once it is served."""
        self.parts |= parts
        self.write()
        ended = self.run("apply", str(self.file))
        assert ended.returncode == 0, ended.stderr
        self.follow(client)

    def follow(self, client: forebay.Client) -> None:
        """Return once the live release is served."""
        wanted, until = self.release(), time.monotonic() + 30
        while client.predict("echo", id=1).provenance.release < wanted:
            assert time.monotonic() < until, "the release isn't taken up"
            time.sleep(0.02)


@pytest.fixture(scope="module")
def evolving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Evolving]:
    """The application, applied and refreshed."""
    directory = tmp_path_factory.mktemp("evolving")
    table = {
        "id": pa.array(KEYS, pa.int64()),
        "size": pa.array([10 * key for key in KEYS], pa.int32()),
        "weight": pa.array([key / 2 for key in KEYS], pa.float32()),
        "note": [f"n{key}" for key in KEYS],
    }
    pq.write_table(pa.table(table), directory / "things.parquet")
    write_linear_model(directory / "models/echo/1/model.onnx", [1.0, 1.0])
    with TemporaryStore() as store:
        evolving = Evolving(directory, store.url)
        evolving.write()
        prepare(directory, store.url, evolving.file, ())
        yield evolving


@pytest.mark.parametrize(
    ("part", "old", "new", "said"),
    [
        ("WRITTEN", "count: int32", "count: float32", "views.written.features.count.dtype: was int32 and is"),
        ("WRITTEN", "count: int32", "count: string", "views.written.features.count"),
        ("WRITTEN", "ratio: float32", "ratio: float16", "views.written.features.ratio.dtype"),
        ("WRITTEN", '"float32[2]"', '"float32[3]"', "views.written.features.pair.dtype"),
        ("WRITTEN", '"int32[]"', '"int32[2]"', "views.written.features.tags.dtype"),
        (
            "SWAPPED",
            "size: int32",
            "size: float32",
            "echo is live and would read swapped.size as null",
        ),
        (
            "COLUMNS",
            "swapped.size",
            "swapped.weight",
            "echo is live and would read swapped.weight as",
        ),
    ],
    ids=["inexact", "another kind", "narrower", "longer", "fixed", "swapped", "new and used"],
)
def test_a_change_that_would_break_is_refused_and_the_way_told(
    evolving: Evolving, part: str, old: str, new: str, said: str
) -> None:
    before = evolving.release()
    parts = {part: evolving.parts[part].replace(old, new)}
    if part == "COLUMNS":
        parts["SWAPPED"] = PARTS["SWAPPED"] + ", weight: float32"
    if new == "count: string":
        parts["COLUMNS"] = "swapped.size, written.ratio"  # a model takes no strings
    evolving.write(**parts)
    for command in ("plan", "apply"):
        ended = evolving.run(command, str(evolving.file))
        assert ended.returncode == 3, ended.stderr
        assert said in ended.stderr
        assert "n two steps: " in ended.stderr
    if "count" in old:
        assert "; pipelines: echo" in ended.stderr
    assert evolving.release() == before


def test_no_value_is_ever_wrong_while_features_come_go_widen_and_move(evolving: Evolving) -> None:
    with (
        served(evolving.directory, evolving.url, "evolving") as gateway,
        forebay.Client(gateway.gateway, timeout_s=5.0) as client,
    ):
        columns = {
            name.removeprefix("written."): [of(key) for key in KEYS]
            for name, of in EXPECTED.items()
            if name.startswith("written.")
        }
        outcomes = client.write("written", columns={"id": KEYS, **columns})
        assert outcomes == [Outcome.APPLIED] * len(KEYS)
        with read_all_along(client):
            _change_everything(evolving, client)


def _change_everything(evolving: Evolving, client: forebay.Client) -> None:
    def values(name: str) -> list[object]:
        table = client.features([name], id=[1, 2])
        assert set(table.statuses(name).tolist()) <= {Status.PRESENT, Status.DEFAULTED}
        return list(table.values(name))

    def statuses(name: str) -> list[int]:
        return client.features([name], id=[1, 2]).statuses(name).tolist()

    added = "extra: {dtype: int64, default: 5}, more: bool, "
    evolving.change(client, WRITTEN=added + PARTS["WRITTEN"].replace("count: int32", "count: int64"))
    assert values("written.extra") == [5, 5]
    assert statuses("written.more") == [Status.NULL] * 2
    evolving.change(client, WRITTEN='pair: "float64[2]", tags: "int64[]", count: int64, name: string')
    with pytest.raises(forebay.NotFound):
        client.features(["written.ratio"], id=[1])
    evolving.change(client, SWAPPED="note: string, weight: {dtype: float32, default: 1.5}, size: int64")
    assert values("swapped.weight") == [1.5, 1.5]
    evolving.change(client, SWAPPED="note: string, weight: {dtype: float32, default: 2.5}, size: int64")
    assert values("swapped.weight") == [2.5, 2.5]
    evolving.change(client, SWAPPED="note: string, weight: float32, size: int64")
    evolving.write(COLUMNS="swapped.size, swapped.weight")
    refused = evolving.run("apply", str(evolving.file))
    assert refused.returncode == 3, "it is applied, but no row has it yet"
    assert "echo is live and would read swapped.weight as null" in refused.stderr
    assert evolving.run("refresh", "run", "swapped").returncode == 0
    evolving.follow(client)
    assert values("swapped.weight") == [0.5, 1.0]
    evolving.change(client, WRITTEN="count: int64, name: string, ratio: float32")
    assert values("written.ratio") == [0.25, 0.5], "of rows that were written before it went"
    evolving.change(client, WRITTEN="count: int64, title: string")  # a rename is a drop and an addition
    assert statuses("written.title") == [Status.NULL] * 2


@contextmanager
def read_all_along(client: forebay.Client) -> Iterator[None]:
    """Read and predict without a pause until the end of the block; fail if anything was wrong."""
    wrong: list[str] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            for name, of in EXPECTED.items():
                wrong.extend(_wrong(client, name, of))
            score = client.predict("echo", id=7)[0].scores["score"]
            wrong.extend([] if score == SCORE else [f"score {score}"])

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield
        assert reader.is_alive(), "reading failed"
    finally:
        done.set()
        reader.join(30)
    assert wrong == []


def _wrong(client: forebay.Client, name: str, of: Callable[[int], object]) -> list[str]:
    """Return the values of a feature that are there and not what they must be."""
    try:
        table = client.features([name], id=KEYS)
    except forebay.NotFound:
        return []  # dropped
    found = zip(KEYS, table.values(name), table.statuses(name), strict=True)
    return [
        f"{name} of {key}: {value}, {status}"
        for key, value, status in found
        if status != Status.PRESENT or not np.array_equal(value, of(key))
    ]
