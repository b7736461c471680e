"""The settings tree: precedence, names, and mistakes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from runtime.settings import SettingsError, is_loopback, load_settings, setting_paths, split_address


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory and an environment without our names."""
    for name in [name for name in os.environ if name.startswith("FOREBAY_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def problems_of(**flags: object) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load_settings(**flags)
    return caught.value.problems


def test_defaults_stand_when_nothing_is_given() -> None:
    settings = load_settings()
    assert settings.server.bind == "127.0.0.1:8500"
    assert settings.server.admin == "127.0.0.1:8501"
    assert settings.server.processes == 1
    assert settings.artifacts == Path(".forebay/artifacts")
    assert settings.redis.url == ""


def test_stronger_source_wins_when_all_give_a_setting(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (directory / "forebay.toml").write_text('app = "file"\n[server]\nprocesses = 2\nbind = "127.0.0.1:1"\n')
    assert load_settings().app == "file"
    monkeypatch.setenv("FOREBAY_APP", "environment")
    monkeypatch.setenv("FOREBAY_SERVER__PROCESSES", "3")
    assert load_settings(app="flag").app == "flag"
    settings = load_settings(app=None, server__bind="127.0.0.1:0")
    assert settings.app == "environment"
    assert (settings.server.processes, settings.server.bind) == (3, "127.0.0.1:0")


def test_short_name_of_the_store_is_read_when_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOREBAY_REDIS_URL", "redis://127.0.0.1:6379/3")
    assert load_settings().redis.url == "redis://127.0.0.1:6379/3"
    assert load_settings(redis_url="unix:///s").redis.url == "unix:///s"


def test_password_in_the_url_is_not_shown_when_settings_are_printed() -> None:
    assert "hunter2" not in repr(load_settings(redis_url="redis://:hunter2@127.0.0.1"))


def test_every_mistake_is_named_with_its_source_when_several_are_made(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (directory / "forebay.toml").write_text("[server]\nprocesess = 2\n")
    monkeypatch.setenv("FOREBAY_SERVER__DRAIN_GRACE_S", "-1")
    monkeypatch.setenv("FOREBAY_REDIS_ULR", "redis://127.0.0.1")
    problems = problems_of(server__bind="localhost")
    assert len(problems) == 4
    assert any(line.startswith("FOREBAY_REDIS_ULR: no such setting") for line in problems)
    assert any(line.startswith("server.procesess (forebay.toml): no such setting") for line in problems)
    assert any(line.startswith("server.drain_grace_s (FOREBAY_SERVER__DRAIN_GRACE_S): ") for line in problems)
    assert any(line.startswith("server.bind (flag): an address is HOST:PORT") for line in problems)


def test_file_that_is_no_toml_is_a_problem(directory: Path) -> None:
    (directory / "forebay.toml").write_text("app = movies\n")
    (problem,) = problems_of()
    assert problem.startswith("forebay.toml: not TOML")


@pytest.mark.parametrize("address", ["0.0.0.0:8500", "[::]:8500", "10.1.2.3:8500", "example.org:8500"])
def test_address_is_refused_when_other_machines_could_reach_it(address: str) -> None:
    (problem,) = problems_of(server__admin=address)
    assert "no credentials are configured" in problem


@pytest.mark.parametrize("address", ["127.0.0.1:0", "localhost:8500", "[::1]:65535", "127.9.9.9:1"])
def test_address_is_taken_when_it_is_loopback(address: str) -> None:
    assert load_settings(server__bind=address).server.bind == address


@pytest.mark.parametrize("address", ["8500", ":8500", "127.0.0.1:", "127.0.0.1:http", "127.0.0.1:65536"])
def test_address_is_refused_when_it_is_none(address: str) -> None:
    assert len(problems_of(server__bind=address)) == 1


def test_variables_of_kubernetes_are_ignored_when_a_service_has_our_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("FOREBAY_SERVICE_HOST", "FOREBAY_SERVICE_PORT_GRPC", "FOREBAY_PORT_8500_TCP_ADDR"):
        monkeypatch.setenv(name, "tcp://10.0.0.1:8500")
    load_settings()


def test_settings_stay_as_they_are_when_somebody_assigns() -> None:
    settings = load_settings()
    with pytest.raises(ValidationError):
        settings.server.processes = 2


def test_every_setting_is_documented() -> None:
    undocumented = [path for path, field in setting_paths() if not field.description]
    assert undocumented == []


def test_addresses_are_split_at_the_last_colon() -> None:
    assert split_address("[::1]:80") == ("::1", 80)
    assert is_loopback("::1")
    assert not is_loopback("forebay.internal")
