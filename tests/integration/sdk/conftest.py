import pytest

from tests.support.either_client import Opening, asynchronous, synchronous


@pytest.fixture(params=[synchronous, asynchronous], ids=["sync", "async"])
def opened(request: pytest.FixtureRequest) -> Opening:
    """Opens a client of either kind."""
    opening: Opening = request.param
    return opening
