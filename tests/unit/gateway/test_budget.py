import pytest
from forebay.deadline import NEVER, Deadline

from gateway.budget import DEFAULT_TIMEOUT_S, Budget


def test_deadline_is_the_callers_when_the_pipeline_has_no_total() -> None:
    assert Budget(None, {}).deadline(Deadline(107.0), 100.0) == Deadline(107.0)


def test_deadline_is_capped_when_the_pipeline_has_a_total() -> None:
    assert Budget(0.025, {}).deadline(Deadline(107.0), 100.0) == Deadline(100.025)
    assert Budget(0.025, {}).deadline(Deadline(100.01), 100.0) == Deadline(100.01)


def test_deadline_is_the_total_or_a_second_when_the_caller_has_none() -> None:
    assert Budget(0.025, {}).deadline(NEVER, 100.0) == Deadline(100.025)
    assert Budget(None, {}).deadline(NEVER, 100.0) == Deadline(100.0 + DEFAULT_TIMEOUT_S)


def test_a_stage_has_its_cap_or_what_remains() -> None:
    budget = Budget(0.025, {"hydrate": 0.005})
    assert budget.limits_s("hydrate", [100.025, 100.004], 100.0) == [100.005, 100.004]
    assert budget.limits_s("hydrate", [100.025], 100.023) == [100.025]
    assert budget.limits_s("select", [100.025], 100.0) == [100.025]
    assert budget.limits_s("hydrate", [100.025], 101.0) == [100.025]


def test_the_reply_has_its_reserve_within_bounds() -> None:
    budget = Budget(None, {})
    assert budget.ends_s(Deadline(100.1), 100.0, 0.004, 0.0) == pytest.approx((100.096, 100.098))
    assert budget.ends_s(Deadline(100.1), 100.0, 0.004, 0.002) == pytest.approx((100.094, 100.096))
    assert budget.ends_s(Deadline(100.001), 100.0, 0.004, 0.002) == pytest.approx((100.0008, 100.00085))
    assert budget.ends_s(Deadline(101.0), 100.0, 0.004, 0.0) == pytest.approx((100.98, 100.99))
