"""Entries into events: the fast path, the one that looks at each event, and that both agree."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from forebay.errors import NotUsable

from jobs.stream.decoding import EventDecoder
from jobs.stream.entry_ids import entry_id, position_of, positions_of
from jobs.stream.event_columns import columns_of
from jobs.stream.event_values import EventError, values_of
from jobs.stream.events import Decoded, EventField
from jobs.stream.source import Entries, EventFormat
from registry.dtypes import DType

NOW_US = 1_700_000_000_000_000
FIELDS = [
    EventField("user", DType.parse("int64"), True),
    EventField("name", DType.parse("string"), False),
    EventField("rating", DType.parse("float32"), False),
    EventField("count", DType.parse("int32"), False),
    EventField("is_new", DType.parse("bool"), False),
    EventField("at", DType.parse("timestamp"), True),
]
GOOD: dict[str, Any] = {
    "user": 7,
    "name": "Zoë",
    "rating": 4.5,
    "count": -3,
    "is_new": True,
    "at": NOW_US - 5,
}


def payload(layout: EventFormat, event: dict[str, Any]) -> Any:
    if layout == "json":
        return json.dumps(event).encode()
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in event.items()}
    return [part.encode() for pair in texts.items() for part in pair]


def decode(layout: EventFormat, payloads: Sequence[Any]) -> Decoded:
    entries = Entries(np.arange(len(payloads)), payloads, 0, at_end=True)
    return EventDecoder(FIELDS, "at", layout, 60_000_000).decode(entries, NOW_US)


@pytest.mark.parametrize("layout", ["fields", "json"])
def test_columns_have_their_types_when_all_events_are_well(layout: EventFormat) -> None:
    other = {**GOOD, "user": -(2**63), "name": "", "rating": 1e-3, "is_new": False}
    payloads = [payload(layout, GOOD), payload(layout, other)]
    assert columns_of(payloads, layout, FIELDS) is not None
    columns = decode(layout, payloads).events.columns
    assert columns["user"].tolist() == [7, -(2**63)]  # type: ignore[union-attr]
    assert columns["name"] == ["Zoë", ""]
    rating = columns["rating"]
    assert isinstance(rating, np.ndarray)
    assert rating.dtype == np.float32
    np.testing.assert_array_equal(rating, np.array([4.5, 1e-3], np.float32))
    np.testing.assert_array_equal(columns["count"], [-3.0, -3.0])
    np.testing.assert_array_equal(columns["is_new"], [1.0, 0.0])


@pytest.mark.parametrize("layout", ["fields", "json"])
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"user": None}, "user is missing"),
        ({"user": "seven"}, "user must be an integer, not 'seven'"),
        ({"user": 7.5}, "user must be an integer, not '7.5'"),
        ({"user": 2**63}, "user is out of the range of int64"),
        ({"count": 2**31}, "count is out of the range of int32"),
        ({"rating": "NaN"}, "rating is NaN, which is no value"),
        ({"rating": "-inf"}, "rating is -inf, which is no value"),
        ({"rating": 1e39}, "rating is out of the range of float32"),
        ({"rating": "4,5"}, "rating must be a number, not '4,5'"),
        ({"is_new": "maybe"}, "is_new must be true or false, not 'maybe'"),
        ({"at": None}, "at is missing"),
        ({"at": "noon"}, "at must be microseconds or ISO 8601, not 'noon'"),
        ({"at": NOW_US + 61_000_000}, "at is over 60 s in the future"),
        ({"at": -(2**60)}, "at is out of the range of event times"),
    ],
)
def test_reason_is_told_when_a_value_does_not_fit(
    layout: EventFormat, change: dict[str, Any], reason: str
) -> None:
    event = {name: value for name, value in {**GOOD, **change}.items() if value is not None}
    decoded = decode(layout, [payload(layout, GOOD), payload(layout, event), payload(layout, GOOD)])
    assert [(one.position, one.reason) for one in decoded.invalid] == [(1, reason)]
    assert decoded.events.positions.tolist() == [0, 2]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "the event is empty"),
        (None, "the event is empty"),
        (b"{", "the event is no JSON"),
        (b"[1]", "the event is no JSON object"),
        (b'{"user": true, "at": 1}', "user must be an integer, not 'true'"),
        (b'{"user": 1, "at": 1, "name": 3}', "name must be text"),
        (b'{"user": 1, "at": 1, "rating": NaN}', "rating is nan, which is no value"),
        (b'{"user": 1, "at": 1, "rating": {}}', "rating must be a number, not '{}'"),
        (b"[" * 100_000, "the event is no JSON"),
    ],
)
def test_reason_is_told_when_json_is_no_event(value: bytes | None, reason: str) -> None:
    assert [one.reason for one in decode("json", [value]).invalid] == [reason]


@pytest.mark.parametrize("layout", ["fields", "json"])
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "zone is empty, which is no key"),
        ("é" * 257, "zone has 514 bytes; a key has at most 512"),
    ],
)
def test_event_is_a_dead_letter_when_its_text_can_be_no_key(
    layout: EventFormat, text: str, reason: str
) -> None:
    """The store refuses such a key: an event that came through would block its partition for good."""
    fields = [EventField("zone", DType.parse("string"), True, in_key=True), FIELDS[-1]]
    good = {"zone": "é" * 256, "at": NOW_US}
    payloads = [payload(layout, event) for event in (good, {**good, "zone": text}, good)]
    entries = Entries(np.arange(3), payloads, 0, at_end=True)
    decoded = EventDecoder(fields, "at", layout, 0).decode(entries, NOW_US)
    assert [(one.position, one.reason) for one in decoded.invalid] == [(1, reason)]
    assert decoded.events.columns["zone"] == [good["zone"]] * 2


def test_event_is_a_dead_letter_when_its_key_is_half_a_character() -> None:
    fields = [EventField("zone", DType.parse("string"), True, in_key=True), FIELDS[-1]]
    entries = Entries(np.arange(1), [b'{"zone": "\\ud800", "at": 1}'], 0, at_end=True)
    [invalid] = EventDecoder(fields, "at", "json", 0).decode(entries, NOW_US).invalid
    assert invalid.reason == "zone is no text that UTF-8 can write"


def test_events_stay_with_their_entries_when_objects_share_a_payload() -> None:
    """Two objects in one message must not shift the events behind it."""
    two = payload("json", GOOD) + payload("json", GOOD)
    decoded = decode("json", [two, b"  ", payload("json", {**GOOD, "user": 9})])
    assert [one.position for one in decoded.invalid] == [0, 1]
    assert decoded.events.positions.tolist() == [2]
    assert decoded.events.columns["user"].tolist() == [9]  # type: ignore[union-attr]


def test_fields_that_are_missing_or_not_declared_are_no_fault() -> None:
    short = {"user": 1, "at": NOW_US, "colour": "red"}
    for layout in ("fields", "json"):
        for payloads in ([short], [short, GOOD]):
            decoded = decode(layout, [payload(layout, event) for event in payloads])  # type: ignore[arg-type]
            assert not decoded.invalid
            assert decoded.events.columns["name"][0] is None
            assert np.isnan(decoded.events.columns["rating"][0])


@pytest.mark.parametrize("layout", ["fields", "json"])
@pytest.mark.parametrize(
    "text",
    ["2023-11-14T22:13:20Z", "2023-11-14T22:13:20", "2023-11-14 23:13:20.000+01:00", str(NOW_US), NOW_US],
)
def test_one_instant_is_read_when_it_is_written_in_any_form(layout: EventFormat, text: str | int) -> None:
    event = {**GOOD, "at": text}
    for payloads in ([event], [event, {**GOOD, "user": "8"}, GOOD], [event, {**GOOD, "extra": 1}]):
        decoded = decode(layout, [payload(layout, one) for one in payloads])
        assert decoded.events.event_times_us[0] == NOW_US
        assert not decoded.invalid


@pytest.mark.parametrize("layout", ["fields", "json"])
def test_both_paths_agree_when_the_fast_one_is_content(layout: EventFormat) -> None:
    random = np.random.default_rng(5)
    texts = [
        "1",
        "-1",
        "0",
        "007",
        "1e3",
        "1.",
        ".5",
        "-0.0",
        "0x10",
        "1_0",
        "+1",
        " 1",
        "",
        "nan",
        "true",
        "1" * 20,
    ]
    names = [field.name for field in FIELDS]
    content = 0
    for _ in range(400):
        change = {
            str(random.choice(names)): str(random.choice(texts)) for _ in range(int(random.integers(0, 3)))
        }
        one = payload(layout, {**GOOD, **change})
        fast = columns_of([one, one], layout, FIELDS)
        if fast is None:
            continue
        content += 1
        slow = values_of(one, layout, FIELDS)
        for field, value in zip(FIELDS, slow, strict=True):
            found = fast[field.name][1]
            expected = np.float32(value) if field.name == "rating" else value
            assert found == expected or (found != found and expected is None), (change, field.name)
    assert content > 20


def test_refused_by_one_path_when_by_the_other() -> None:
    with pytest.raises(EventError, match="user must be an integer"):
        values_of(payload("fields", {**GOOD, "user": "0x10"}), "fields", FIELDS)
    assert columns_of([payload("fields", {**GOOD, "user": "0x10"})], "fields", FIELDS) is None


def test_positions_keep_the_order_of_ids_and_lead_back_to_them() -> None:
    ids = [b"0-1", b"0-2", b"1-0", b"1700000000000-0", b"1700000000000-1048575", b"8796093022207-1048575"]
    positions = positions_of(ids)
    assert (np.diff(positions) > 0).all()
    assert [entry_id(int(position)) for position in positions] == ids
    assert [position_of(one) for one in ids] == positions.tolist()


@pytest.mark.parametrize("name", [b"8796093022208-0", b"5-1048576", b"18446744073709551615-0"])
def test_id_is_refused_when_it_fits_no_position(name: bytes) -> None:
    with pytest.raises(NotUsable, match=name.decode()):
        positions_of([b"1-1", name])
