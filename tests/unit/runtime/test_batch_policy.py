"""Which of the waiting run next: order, limits, and who is given up."""

from itertools import product
from math import inf
from random import Random

import pytest

from runtime.batcher import BatchLimits, Criticality
from runtime.batcher.entry import Entry
from runtime.batcher.policy import DUE, Choice, choose, drain_s, fit, longest_s
from runtime.duration_model import UNKNOWN, Cost

LIMITS = BatchLimits(members=4, rows=100, run_s=0.010, caution_ratio=1.0)
COST = Cost(0.001, 0.001)
CRITICAL, DEFAULT, SHEDDABLE = Criticality


def entry(
    deadline_s: float = inf, *, criticality: Criticality = DEFAULT, rows: int = 1, key: str = "a"
) -> Entry:
    return Entry(key, criticality, rows, 0.0, deadline_s, deadline_s, waiting=True)


def queue(*entries: Entry) -> list[list[Entry]]:
    """Return the entries as the schedule holds them."""
    ranks = [[entry for entry in entries if entry.criticality is rank] for rank in Criticality]
    return [sorted(rank, key=DUE) for rank in ranks]


def chosen(*entries: Entry, cost: Cost = COST, limits: BatchLimits = LIMITS) -> Choice[Entry]:
    return choose(0.0, queue(*entries), cost, limits)


def left(choice: Choice[Entry]) -> list[Entry]:
    return [entry for rank in choice.left for entry in rank]


def test_nothing_is_chosen_when_nothing_waits() -> None:
    choice = chosen()
    assert (choice.run, choice.late, left(choice)) == ([], [], [])


def test_the_critical_go_first_and_then_the_earliest_due() -> None:
    sheddable, late = entry(0.1, criticality=SHEDDABLE), entry(0.9)
    early, critical, whenever = entry(0.3), entry(5.0, criticality=CRITICAL), entry()
    choice = chosen(sheddable, late, early, critical, whenever)
    assert choice.run == [critical, early, late, whenever]
    assert left(choice) == [sheddable]


def test_a_batch_holds_no_more_members_than_allowed() -> None:
    choice = chosen(*[entry() for _ in range(6)])
    assert (len(choice.run), len(left(choice))) == (4, 2)


def test_a_batch_holds_no_more_rows_than_allowed() -> None:
    choice = chosen(entry(1.0, rows=60), entry(2.0, rows=40), entry(3.0, rows=1), cost=UNKNOWN)
    assert [entry.rows for entry in choice.run] == [60, 40]


def test_a_batch_is_expected_to_take_no_longer_than_allowed() -> None:
    choice = chosen(entry(1.0, rows=5), entry(2.0, rows=3), entry(3.0, rows=2))
    assert [entry.rows for entry in choice.run] == [5, 3]


def test_a_batch_grows_all_the_same_when_the_fixed_part_alone_takes_longer_than_allowed() -> None:
    choice = chosen(*[entry() for _ in range(4)], cost=Cost(0.050, 0.010))
    assert len(choice.run) == 4
    assert len(chosen(*[entry() for _ in range(4)], cost=Cost(0.050, 0.020)).run) == 2


def test_a_submission_over_every_limit_runs_alone() -> None:
    choice = chosen(entry(1.0, rows=500), entry(2.0))
    assert [entry.rows for entry in choice.run] == [500]


def test_only_one_key_is_in_a_batch() -> None:
    first, other, third = entry(1.0, key="a"), entry(2.0, key="b"), entry(3.0, key="a")
    choice = chosen(first, other, third)
    assert choice.run == [first, third]
    assert left(choice) == [other]


def test_who_is_gone_leaves() -> None:
    gone, here = entry(1.0), entry(2.0)
    gone.waiting = False
    choice = chosen(gone, here)
    assert (choice.run, choice.late, left(choice)) == ([here], [], [])


def test_the_expired_are_late_when_their_turn_comes() -> None:
    expired, here = entry(0.0), entry(2.0)
    choice = chosen(expired, here, cost=UNKNOWN)
    assert (choice.run, choice.late) == ([here], [expired])


def test_who_cannot_be_done_in_time_even_alone_is_late() -> None:
    hopeless, here = entry(0.0019), entry(0.1)
    choice = chosen(hopeless, here)
    assert (choice.run, choice.late) == ([here], [hopeless])


def test_a_batch_stays_small_for_those_in_a_hurry_when_the_others_have_time() -> None:
    hurried, patient = entry(0.0025), [entry(1.0) for _ in range(3)]
    choice = chosen(hurried, *patient)
    assert (choice.run, choice.late) == ([hurried], [])
    assert left(choice) == patient


def test_those_in_a_hurry_are_given_up_when_serving_them_would_make_more_late() -> None:
    hurried, others = entry(0.0025), [entry(0.0051) for _ in range(3)]
    choice = chosen(hurried, *others)
    assert (choice.run, choice.late) == (others, [hurried])


def test_the_batch_shrinks_when_nobody_could_be_served_in_a_full_one() -> None:
    """Else all of them would be given up for a batch that none of them could join."""
    choice = chosen(*[entry(0.0035) for _ in range(4)])
    assert (len(choice.run), len(choice.late), len(left(choice))) == (2, 0, 2)


def test_nobody_less_critical_makes_the_critical_late() -> None:
    critical = entry(0.0031, criticality=CRITICAL)
    others = [entry(0.0051) for _ in range(3)]
    choice = chosen(critical, *others)
    assert choice.run == [critical, others[0]]


def test_drain_counts_batches_by_the_limit_that_binds() -> None:
    assert drain_s(8, 8, Cost(1.0, 0.0), LIMITS) == 2.0
    assert drain_s(1, 300, Cost(1.0, 0.0), LIMITS) == 3.0
    assert drain_s(0, 0, Cost(1.0, 0.0), LIMITS) == 0.0
    assert drain_s(4, 40, Cost(0.002, 0.001), LIMITS) == pytest.approx(0.002 * 5 + 0.04)


@pytest.mark.parametrize("seed", range(200))
def test_every_choice_keeps_its_promises_whatever_waits(seed: int) -> None:
    random = Random(seed)
    cost = random.choice([UNKNOWN, COST, Cost(0.003, 0.0), Cost(0.0, 0.002)])
    entries = [
        entry(
            random.choice([inf, random.uniform(-0.001, 0.01), random.uniform(0.0, 0.1)]),
            criticality=random.choice(list(Criticality)),
            rows=random.choice([1, 1, 1, 5, 60]),
            key=random.choice(["a", "a", "a", "b"]),
        )
        for _ in range(random.randint(0, 30))
    ]
    gone = [one for one in entries if random.random() < 0.1]
    for one in gone:
        one.waiting = False
    choice = chosen(*entries, cost=cost)
    assert all(one not in gone for one in choice.run + choice.late)
    places = choice.run + choice.late + [one for one in left(choice) if one not in gone]
    assert len(places) == len({id(one) for one in places}) == len(entries) - len(gone)
    rows = sum(one.rows for one in choice.run)
    assert all(cost.of(rows) < one.deadline_s for one in choice.run), "who runs is in time"
    assert len({one.key for one in choice.run}) <= 1
    assert len(choice.run) <= LIMITS.members
    assert len(choice.run) <= 1 or (rows <= LIMITS.rows and cost.of(rows) <= longest_s(cost, LIMITS))
    alive = [one for one in entries if one not in gone]
    possible = [one for one in alive if cost.of(one.rows) < one.deadline_s]
    assert choice.run or not possible, "somebody runs if anybody can"
    assert all(sorted(rank, key=DUE) == rank for rank in choice.left)


def test_the_quick_look_agrees_with_the_choice() -> None:
    deadlines, sizes = [0.0035, 0.0051, 1.0], [1, 9]
    for first, second, rows in product(deadlines, deadlines, sizes):
        entries = [entry(first), entry(second, rows=rows)]
        if fit(entries, 0.0, COST, LIMITS):
            assert sorted(map(id, chosen(*entries).run)) == sorted(map(id, entries))
