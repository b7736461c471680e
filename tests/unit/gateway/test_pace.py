"""The size of a worker's mini-batches, against how long they take."""

from gateway.submissions.pace import Pace


def test_it_grows_to_the_most_while_mini_batches_are_quick() -> None:
    pace = Pace(100, timeout_s=5.0)
    sizes = [pace.size]
    for _ in range(5):
        pace.took(pace.size, 0.01)
        sizes.append(pace.size)
    assert sizes == [8, 16, 32, 64, 100, 100]


def test_a_slow_model_s_mini_batches_stay_within_half_of_the_time_that_each_has() -> None:
    """A tenth of a second each, one after another: 64 of them would take longer than any of them has."""
    pace = Pace(64, timeout_s=5.0)
    took = []
    for _ in range(20):
        took.append(pace.size * 0.1)
        pace.took(pace.size, took[-1])
    assert max(took) <= 2.5
    assert pace.size == 16


def test_it_shrinks_to_one_while_nothing_ends_in_time_and_recovers() -> None:
    pace = Pace(64, timeout_s=5.0)
    for _ in range(10):
        pace.took(pace.size, 5.0)
    assert pace.size == 1
    for _ in range(6):
        pace.took(pace.size, 0.01)
    assert pace.size == 64


def test_a_mini_batch_that_was_not_full_proves_nothing() -> None:
    pace = Pace(64, timeout_s=5.0)
    pace.took(1, 0.01)
    assert pace.size == 8


def test_it_never_takes_more_than_it_may() -> None:
    assert Pace(1, timeout_s=5.0).size == 1
