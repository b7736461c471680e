"""Admission's part of the settings: what is refused when too many come at once. Declared here, below what
uses it, so that one tree holds all settings."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveFloat, PositiveInt

from runtime.settings_group import Group


class CallerQuota(Group):
    """What one caller may do."""

    rate_per_s: PositiveFloat
    """Calls per second in the long run."""

    burst: PositiveInt
    """Calls that may come at once, after a pause."""


class AdmissionSettings(Group):
    """How many requests are taken on at a time, and what a caller may ask for. See `docs/overload.md`.

    What is refused gets RESOURCE_EXHAUSTED, and when to come back.
    """

    max_in_flight: PositiveInt = 512
    """Predictions of one pipeline under way in one process, at most; the limiter finds the number that is in
    time, at most this. Memory for so many requests must be there."""

    adaptive: bool = True
    """Whether the limiter looks for the number that is in time. Without it `max_in_flight` alone holds, and
    under overload requests wait for most of their deadline."""

    max_reads: PositiveInt = 128
    """ReadFeatures calls under way in one process. Past nine tenths of it only critical ones are taken on,
    past half of it no sheddable ones. Each may hold a few megabytes."""

    max_writes: PositiveInt = 64
    """The same for WriteFeatures calls and deletions."""

    max_searches: PositiveInt = 128
    """The same for FindSimilar calls."""

    caller_rate_per_s: Annotated[float, Field(ge=0)] = 0.0
    """Calls per second that one caller (the metadata `forebay-caller`) may make to one process in the long
    run; callers without a name share one quota. 0: no bound. Behind N processes a caller gets up to N times
    as much."""

    caller_burst: PositiveInt = 100
    """Calls that one caller may make at once, after a pause, where `caller_rate_per_s` bounds it."""

    callers: dict[str, CallerQuota] = Field(default_factory=dict)
    """Quotas of single callers, in place of the general one: `{"nightly": {"rate_per_s": 50, "burst": 10}}`;
    in the file a table `[admission.callers.nightly]`. The empty name is for callers without one."""

    callers_remembered: PositiveInt = 10_000
    """Callers whose use is remembered; beyond, the one not heard of for longest is forgotten, and has its
    whole burst again. About 200 bytes each."""
