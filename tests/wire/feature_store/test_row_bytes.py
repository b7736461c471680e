"""Rows as format version 1 has them, byte for byte: stored rows outlive the server that wrote them."""

import numpy as np

from feature_store.codec import ViewReader
from feature_store.row_header import is_tombstone, pack_header, pack_tombstone
from tests.support.feature_rows import NOW_US, encode, plain, schema, view

SCHEMA = schema(
    258,
    price="float32",
    sold="int32",
    on_sale="bool",
    vector="float16[2]",
    title="string",
    bought="int64[]",
    seen="timestamp",
    rank="float64",
)
TABLE = {
    "price": [1.5, None],
    "sold": [-2, None],
    "on_sale": [True, None],
    "vector": [[0.5, -1.0], None],
    "title": ["né", None],
    "bought": [[1, -1], None],
    "seen": [NOW_US, None],
    "rank": [0.25, None],
}
WHOLE = (
    "02010100050000000000000000401e18240a0600"  # schema, version, flags, event time, write time
    "00"  # nulls: sold, on_sale, title, bought, seen
    "0000c03ffeffffff01003800bc00401e18240a0600000000000000d03f"  # columns
    "0300000013000000"  # ends
    "6ec3a90100000000000000ffffffffffffffff"  # tail
)  # fmt: skip
NULLS = (
    "02010101050000000000000000401e18240a0600"
    "1f"
    "0000c07f0000000000007e007e0000000000000000000000000000f87f"
    "0000000000000000"
)  # fmt: skip


def test_rows_have_these_bytes_when_written() -> None:
    assert [row.hex() for row in encode(SCHEMA, TABLE)] == [WHOLE, NULLS]


def test_values_come_back_when_these_bytes_are_read() -> None:
    rows = [bytes.fromhex(WHOLE), bytes.fromhex(NULLS)]
    block = ViewReader(view(SCHEMA), 1, NOW_US).decode(rows, NOW_US)
    assert block.event_times_us.tolist() == [5, 5]
    for name, values in TABLE.items():
        column = block.column(name)
        assert column.statuses.tolist() == [1, 2]
        assert plain(column.values, [1, 2]) == values


def test_the_header_has_these_bytes_when_packed() -> None:
    assert pack_header(258, 5, NOW_US).hex() == WHOLE[:40]
    assert np.frombuffer(pack_header(258, 5, NOW_US), "<u2")[0] == 258


TOMBSTONE = "0000010200401e18240a060000401e18240a0600"  # schema 0, version, flag, event time, write time


def test_a_tombstone_has_these_bytes_and_reads_as_no_row() -> None:
    tombstone = bytes.fromhex(TOMBSTONE)
    assert pack_tombstone(NOW_US) == tombstone
    assert is_tombstone(tombstone)
    for reader in (ViewReader(view(SCHEMA), 1, NOW_US), ViewReader(view(schema(0)), 1, NOW_US)):
        block = reader.decode([tombstone, None], NOW_US)
        assert block.row_statuses.tolist() == [3, 3]
        assert block.corrupt_count == 0
