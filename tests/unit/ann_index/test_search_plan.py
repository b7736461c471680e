"""When a graph or lists are searched, how hard, and when a scan is better."""

import numpy as np
import pytest

from ann_index.exclusion import all_but
from ann_index.search_plan import hnsw_effort, ivf_effort


@pytest.mark.parametrize(
    ("k", "excluded", "count", "effort"),
    [
        (10, 0, 1_000_000, 64),
        (1, 0, 1_000_000, 64),
        (100, 0, 1_000_000, 177),
        (10, 200, 1_000_000, 464),
        (10, 2_000, 1_000_000, 4_064),
        (10, 2_000, 100_000, None),
        (10_000, 0, 1_000_000, None),
        (10, 0, 6_400, None),
    ],
)
def test_the_graph_is_searched_harder_or_not_at_all_when_more_is_excluded(
    k: int, excluded: int, count: int, effort: int | None
) -> None:
    assert hnsw_effort(64, k, excluded, count) == effort


@pytest.mark.parametrize(
    ("k", "excluded", "effort"),
    [(10, 0, 8), (100, 0, 10), (10, 1_000, 24), (10, 100_000, 1_608), (10, 1_900_000, None)],
)
def test_more_lists_are_read_or_all_when_more_is_excluded(k: int, excluded: int, effort: int | None) -> None:
    assert ivf_effort(8, k, excluded, 1_000_000, 4_000) == effort


@pytest.mark.parametrize("count", [1, 7, 8, 9, 64, 1_001])
def test_the_bitmap_holds_every_row_but_the_excluded_when_it_is_made(count: int) -> None:
    rng = np.random.default_rng(count)
    for size in {0, 1, count // 2, count}:
        excluded = rng.choice(count, size, replace=False)
        rows = all_but(np.concatenate([excluded, excluded[: size // 2]]), count)
        bits = np.unpackbits(rows.bits, bitorder="little")[:count]
        assert np.flatnonzero(bits == 0).tolist() == np.sort(excluded).tolist()
        assert (rows.excluded, rows.allowed) == (size, count - size)
