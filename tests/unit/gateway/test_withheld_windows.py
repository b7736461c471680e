"""Windows that may not be used are not windows without events: a model sees no zero for the unknown."""

import numpy as np
import pytest

from feature_store.codec import WindowReader
from feature_store.store import UNREAD
from feature_store.types import Status
from feature_store.windows.freshness import StreamFreshness
from gateway.plan import HydratedView, Rule
from registry.watermarks import ViewGeneration
from tests.support.windowed_view import MINUTE_US, NOW_US, window, windowed_view

WINDOWS = {"n": window("count"), "mean": window("mean", default=3.5)}


def hydrated(watermark_us: int, rule: Rule | None) -> HydratedView:
    freshness = StreamFreshness({ViewGeneration(3, 1): watermark_us})
    reader = WindowReader(windowed_view(WINDOWS), 1, freshness)
    return HydratedView(view=reader.view, reader=reader, rule=rule, required=False, features=("n", "mean"))


def seen(view: HydratedView, rows: list[bytes | None]) -> list[list[float]]:
    """Return what a model gets of these rows."""
    block = view.trusted(rows, view.reader.decode(rows, NOW_US), NOW_US)
    matrix = np.zeros((len(rows), 2), np.float32)
    block.gather(view.reader.gather_spec(["n", "mean"], [0, 1]), matrix)
    return matrix.tolist()


def test_no_row_is_no_events_when_the_stream_is_fresh() -> None:
    assert seen(hydrated(NOW_US, None), [None]) == [[0.0, 3.5]]


@pytest.mark.parametrize("rule", [None, Rule.DEFAULTS])
def test_a_count_is_not_known_when_the_stream_is_stale(rule: Rule | None) -> None:
    [[count, mean]] = seen(hydrated(NOW_US - 60 * MINUTE_US, rule), [None])
    assert np.isnan(count)
    assert mean == 3.5


def test_a_count_is_what_it_was_when_the_rule_takes_stale_rows() -> None:
    assert seen(hydrated(NOW_US - 60 * MINUTE_US, Rule.STALE), [None]) == [[0.0, 3.5]]


def test_a_count_is_not_known_when_its_row_could_not_be_read() -> None:
    view = hydrated(NOW_US, None)
    unread, absent = seen(view, [UNREAD, None])
    assert np.isnan(unread[0])
    assert absent == [0.0, 3.5]
    nothing = view.reader.decode([view.reader.absent_row], NOW_US)
    assert nothing.row_statuses.tolist() == [Status.NOT_FOUND]
