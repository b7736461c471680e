"""Both wheels hold what they should and nothing else, and nobody else provides a package of our names."""

import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.support.source_files import FLOORS, OWN_PACKAGES, ROOT, tracked

CONTENTS = {"forebay_server": (ROOT, set(FLOORS)), "forebay": (ROOT / "sdk", {"forebay"})}


@pytest.fixture(scope="module", params=CONTENTS)
def wheel(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[str]]:
    """The distribution's name, and the paths in its wheel."""
    directory, _ = CONTENTS[request.param]
    target = tmp_path_factory.mktemp(request.param)
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)]
    finished = subprocess.run(build, cwd=directory, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    (built,) = target.glob(f"{request.param}-*.whl")
    return request.param, ZipFile(built).namelist()


def test_a_wheel_holds_its_packages_only(wheel: tuple[str, list[str]]) -> None:
    name, paths = wheel
    top_level = {path.partition("/")[0] for path in paths if ".dist-info/" not in path}
    assert top_level == CONTENTS[name][1]


def test_a_wheel_holds_all_of_its_packages_files(wheel: tuple[str, list[str]]) -> None:
    name, paths = wheel
    directory, packages = CONTENTS[name]
    folder = directory.relative_to(ROOT)
    expected = {
        path.relative_to(folder).as_posix()
        for package in packages
        for path in tracked(f"{(folder / package).as_posix()}/*")
    }
    assert expected - set(paths) == set()


def test_no_other_distribution_provides_a_package_of_our_names() -> None:
    providers = packages_distributions()
    ours = {"forebay", "forebay-server"}
    assert {name: providers[name] for name in OWN_PACKAGES if set(providers.get(name, [])) - ours} == {}


def test_the_sdk_declares_that_it_is_typed() -> None:
    assert Path("sdk/forebay/py.typed") in tracked("sdk/*")
