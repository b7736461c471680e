"""What is kept, against a model that has all the room there is: never the answer of another key, never over
the bound, the counts always right."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.batch import NEVER_US
from gateway.kept_answer import KeptAnswer
from gateway.recall.entries import Entries, Entry, Freshness
from gateway.recall.stats import RecallStats
from tests.support.examples import examples

MAX_BYTES, MAX_ENTRY_BYTES = 12_000, 5_000

NUMBERS = st.integers(0, 7)
RELEASES = st.integers(1, 3)
TEXTS = st.lists(st.sampled_from("abcd"), max_size=4)
ROWS = st.dictionaries(st.sampled_from(["now", "then"]), TEXTS, max_size=2)
RAWS = st.binary(max_size=2)


class KeptAnswers(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.stats = RecallStats()
        self.entries = Entries(MAX_BYTES, MAX_ENTRY_BYTES, self.stats)
        self.newest: dict[bytes, Entry] = {}  # by key: what would be there if nothing ever gave way
        self.named: dict[bytes, bytes] = {}  # by request: the key that it was last given
        self.now_s = 0.0

    @rule(number=NUMBERS, release=RELEASES, body_bytes=st.integers(0, 6_000), rows=ROWS, lasts_s=NUMBERS)
    def put(
        self, number: int, release: int, body_bytes: int, rows: dict[str, list[str]], lasts_s: int
    ) -> None:
        key = bytes([number]) * 16
        kept = KeptAnswer(bytes([number]) * body_bytes, release, 0, NEVER_US, False)
        until_s = self.now_s + lasts_s
        entry = Entry(key, "p", kept, self.now_s, until_s, until_s + lasts_s, 0.0, rows)
        fits = entry.size_bytes <= MAX_ENTRY_BYTES
        is_kept = self.entries.put(entry)
        if is_kept:
            self.newest[key] = entry
        else:
            assert not fits or entry.raws
            self.newest.pop(key, None)

    @rule(number=NUMBERS)
    def get(self, number: int) -> None:
        key = bytes([number]) * 16
        found = self.entries.get(key)
        assert found is None or found is self.newest[key]

    @rule(number=NUMBERS, raw=RAWS)
    def name(self, number: int, raw: bytes) -> None:
        entry = self.entries.get(bytes([number]) * 16)
        if entry is not None:
            self.entries.name(entry, raw)
            self.named[raw] = entry.key

    @rule(raw=RAWS)
    def get_named(self, raw: bytes) -> None:
        found = self.entries.named(raw)
        if found is not None:
            assert found is self.newest[self.named[raw]]

    @rule(view=st.sampled_from(["now", "then"]), texts=TEXTS)
    def write(self, view: str, texts: list[str]) -> None:
        self.entries.drop_rows(view, texts)
        for key, entry in list(self.newest.items()):
            if set(texts) & set(entry.rows.get(view, ())):
                del self.newest[key]
                assert self.entries.get(key) is None

    @rule()
    def forget(self) -> None:
        self.entries.clear()
        self.newest.clear()

    @rule(seconds=st.integers(1, 5), release=RELEASES)
    def age(self, seconds: int, release: int) -> None:
        self.now_s += seconds
        for entry in self.newest.values():
            freshness = entry.freshness(release, self.now_s, 0)
            if freshness is not Freshness.SPENT:
                assert entry.kept.release == release
                assert self.now_s < entry.stale_until_s
                assert (freshness is Freshness.FRESH) == (self.now_s < entry.fresh_until_s)

    @invariant()
    def counts_are_right(self) -> None:
        held = list(self.entries._by_key.values())
        assert self.stats.bytes == sum(entry.size_bytes for entry in held) <= MAX_BYTES
        assert self.stats.entries == len(held)
        assert {raw for entry in held for raw in entry.raws} == set(self.entries._by_raw)
        assert all(self.entries._by_raw[raw] is entry for entry in held for raw in entry.raws)
        named = {
            (view, text, entry.key) for entry in held for view, texts in entry.rows.items() for text in texts
        }
        found = {
            (view, text, key)
            for view, by_text in self.entries._by_row.items()
            for text, keys in by_text.items()
            for key in keys
        }
        assert named == found


TestKeptAnswers = KeptAnswers.TestCase
TestKeptAnswers.settings = settings(max_examples=examples(60), stateful_step_count=40, deadline=None)
