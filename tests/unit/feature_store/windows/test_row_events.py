"""Events by row: each row's in order, in calls of a bounded size."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from feature_store.windows.events import EventBlock, Source
from feature_store.windows.ring_row import RingForm
from feature_store.windows.row_events import row_events, script_arguments
from registry.rings import Ring, RingField

FORM = RingForm(3, Ring(1000, 4, (RingField("x", ("count",)), RingField("y", ("min", "last")))))


def block(count: int) -> EventBlock:
    return EventBlock(
        Source(1, 2),
        ["-"] * count,
        np.arange(count, dtype=np.int64) * 7,
        np.arange(count, dtype=np.int64) + 5,
        {"x": np.arange(count, dtype=np.float32), "y": np.full(count, np.nan), "z": np.zeros(count)},
    )


@given(
    keys=st.lists(st.sampled_from([b"a", b"b", b"c", b"d", b"e"]), max_size=40),
    most_rows=st.integers(1, 4),
    most_events=st.integers(1, 9),
)
def test_every_event_is_in_one_call_when_rows_are_cut_into_calls(
    keys: list[bytes], most_rows: int, most_events: int
) -> None:
    rows = row_events(FORM, keys, block(len(keys)))
    seen: list[int] = []
    for span in rows.spans(most_rows, most_events):
        assert 1 <= span.stop - span.start <= most_rows
        count = int(rows.starts[span.stop] - rows.starts[span.start])
        assert count <= most_events or span.stop - span.start == 1
        for row in range(span.start, span.stop):
            places = rows.order[rows.starts[row] : rows.starts[row + 1]].tolist()
            assert places == [place for place, key in enumerate(keys) if key == rows.keys[row]]
            records = rows.records(FORM, row)
            assert records["position"].tolist() == [place + 5 for place in places]
            assert records["event_time_us"].tolist() == [place * 7 for place in places]
            assert records["values"][:, 0].tolist() == places
            seen += places
    assert sorted(seen) == list(range(len(keys)))


def test_arguments_say_all_that_the_script_needs() -> None:
    head, source, masks, *numbers = script_arguments(FORM, block(1), 77, 0.5)
    assert head == bytes([3, 0, 1, 4])
    assert source == bytes([1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0])
    assert masks == bytes([1, 8 | 32])
    assert numbers == [b"77", b"1000", b"4", b"500"]
