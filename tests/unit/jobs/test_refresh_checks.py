"""What a refresh may publish: each check's figure, limit and way past it."""

from __future__ import annotations

import numpy as np
import pytest

from jobs.measures import Measures
from jobs.refresh_checks import Finding, RowFacts, check_rows, check_values, refuse_broken
from jobs.refused import Refused
from jobs.view_query import RowCounts
from registry.batch_checks import BatchChecks
from registry.columns import ColumnData, VariableLists


def rows(
    returned: int, live: int | None = None, keyless: int = 0, repeated: int = 0, **checks: object
) -> dict[str, Finding]:
    facts = RowFacts("v", RowCounts(returned, keyless, repeated), live)
    found = check_rows(facts, BatchChecks.model_validate(checks), ())
    return {finding.name: finding for finding in found}


def outcomes(found: dict[str, Finding], *wanted: str) -> list[str]:
    return [name for name, finding in found.items() if finding.outcome in wanted]


def test_rows_pass_when_nothing_is_declared() -> None:
    assert outcomes(rows(100), "broken", "alarm") == []
    assert outcomes(rows(100, live=150), "broken", "alarm") == []


def test_no_rows_are_refused_when_nothing_is_declared() -> None:
    found = rows(3, keyless=3)
    assert outcomes(found, "broken") == ["v.rows.empty"]
    assert "returns no rows (3 without a key)" in found["v.rows.empty"].says


def test_half_of_the_live_rows_may_go_and_no_more() -> None:
    assert outcomes(rows(50, live=100), "broken") == []
    assert outcomes(rows(49, live=100), "broken") == ["v.rows.shrink"]


def test_declared_change_replaces_the_default_in_both_directions() -> None:
    limits = {"rows": {"max_change": 0.1}}
    assert outcomes(rows(89, live=100, **limits), "broken") == ["v.rows.shrink"]
    assert outcomes(rows(111, live=100, **limits), "broken") == ["v.rows.growth"]
    assert outcomes(rows(30, live=100, rows={"max_change": 0.8}), "broken") == []


def test_alarm_is_raised_when_keys_double_or_repeat() -> None:
    assert outcomes(rows(201, live=100), "alarm") == ["v.rows.growth"]
    assert outcomes(rows(100, repeated=11), "alarm") == ["v.keys.repeated"]
    assert outcomes(rows(100, repeated=10), "alarm") == []
    assert outcomes(rows(100, keyless=1), "alarm") == ["v.keys.missing"]


def test_keys_are_refused_when_more_are_wrong_than_declared() -> None:
    limits = {"keys": {"missing": 0.01, "repeated": 0.0}}
    assert outcomes(rows(100, keyless=2, repeated=1, **limits), "broken") == [
        "v.keys.missing",
        "v.keys.repeated",
    ]


def test_bounds_of_rows_hold_with_their_ends() -> None:
    limits = {"rows": {"min": 10, "max": 20}}
    assert [outcomes(rows(count, **limits), "broken") for count in (9, 10, 20, 21)] == [
        ["v.rows.min"],
        [],
        [],
        ["v.rows.max"],
    ]


def test_fewer_rows_are_fine_when_only_a_part_is_read() -> None:
    facts = RowFacts("v", RowCounts(0, 0, 0), None, is_part=True)
    assert check_rows(facts, BatchChecks.model_validate({"rows": {"min": 10}}), ()) == []


def test_every_broken_check_is_told_with_the_way_past_it() -> None:
    found = [*rows(10, live=100, rows={"min": 20}).values()]
    with pytest.raises(Refused) as caught:
        refuse_broken(found)
    assert "2 checks are broken" in caught.value.message
    assert "v.rows.min: 10 rows; at least 20" in caught.value.message
    assert "v.rows.shrink: 10 rows where 100 are live (-90.0%); at most 50% fewer" in caught.value.message
    assert "--accept v.rows.min --allow-shrink" in caught.value.message


def test_accepted_check_is_told_and_refuses_nothing() -> None:
    facts = RowFacts("v", RowCounts(10, 0, 0), 100)
    found = check_rows(facts, BatchChecks(), {"v.rows.shrink"})
    assert [finding.outcome for finding in found if finding.name == "v.rows.shrink"] == ["accepted"]
    refuse_broken(found)


def measured(**columns: ColumnData) -> Measures:
    measures = Measures(frozenset(columns))
    for start, stop in ((0, 2), (2, 4)):
        part = {}
        for name, column in columns.items():
            if isinstance(column.values, VariableLists):
                part[name] = ColumnData(column.values.take(np.arange(start, stop)), column.nulls)
            else:
                nulls = None if column.nulls is None else column.nulls[start:stop]
                part[name] = ColumnData(column.values[start:stop], nulls)
        measures.add(part, stop - start)
    return measures


def test_nulls_are_what_the_store_keeps_as_such() -> None:
    mask = np.array([False, True, True, True])
    measures = measured(
        number=ColumnData(np.array([1.0, np.nan, 3.0, np.nan])),
        whole=ColumnData(np.array([5, 0, 0, 0]), mask),
        vector=ColumnData(np.array([[1.0, 2.0], [np.nan, 9.0], [3.0, np.nan], [0.0, 1.0]])),
    )
    assert measures.nulls == {"number": 2, "whole": 3, "vector": 1}
    assert measures.extremes == {"number": (1, 3), "whole": (5, 5), "vector": (0, 3)}


def test_extremes_are_of_every_element_when_lists_vary() -> None:
    lists = VariableLists(np.array([4, 7, -2]), np.array([0, 2, 2, 2, 3]))
    assert measured(seen=ColumnData(lists)).extremes == {"seen": (-2, 7)}


def test_values_are_refused_when_null_or_out_of_range() -> None:
    checks = BatchChecks.model_validate(
        {"nulls": {"a": 0.25}, "ranges": {"a": [0, 5], "b": {"min": 2}, "c": [0, 1]}}
    )
    measures = measured(
        a=ColumnData(np.array([np.nan, np.nan, 5.5, 0.0])),
        b=ColumnData(np.array([2, 3, 4, 5])),
        c=ColumnData(np.full(4, np.nan)),
    )
    found = {finding.name: finding for finding in check_values("v", measures, checks, ())}
    assert outcomes(found, "broken") == ["v.nulls.a", "v.ranges.a"]
    assert outcomes(found, "alarm") == ["v.nulls.c"]
    assert found["v.nulls.a"].says == "2 of 4 values are null (50.0%); at most 25.0%"
    assert found["v.ranges.a"].says == "values from 0 to 5.5; allowed from 0 to 5"


def test_infinity_is_out_of_every_range() -> None:
    checks = BatchChecks.model_validate({"ranges": {"a": {"max": 5}}})
    measures = measured(a=ColumnData(np.array([1.0, np.inf, 2.0, 3.0])))
    assert [finding.outcome for finding in check_values("v", measures, checks, ())] == ["broken"]
