from collections.abc import Iterator

import forebay
import pytest

from runtime.embedded_store import TemporaryStore
from tests.support.served_application import ServedApplication, prepare, served
from tests.support.tiny_application import write_tiny_application


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedApplication]:
    """The tiny application, served by a real process from a real store."""
    directory = tmp_path_factory.mktemp("tiny")
    file = write_tiny_application(directory / "app")
    with TemporaryStore() as store:
        prepare(directory, store.url, file, ("items",))
        with served(directory, store.url, "tiny") as gateway:
            yield gateway


@pytest.fixture(scope="session")
def client(tiny: ServedApplication) -> Iterator[forebay.Client]:
    """A client of the served application."""
    with forebay.Client(tiny.gateway, timeout_s=5.0) as client:
        yield client
