"""The settings of predictions that are submitted now and made later."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from runtime.settings_group import Group


class SubmissionSettings(Group):
    """Predictions that are submitted now and made later by `forebay worker`. Gateways and workers of one
    application should be given the same values."""

    max_backlog: PositiveInt = 10_000
    """Predictions that may have been accepted and not ended; past it a submission is refused as Overloaded.
    Redis holds their requests: at most this many times `max_request_bytes`."""

    max_request_bytes: PositiveInt = 65_536
    """Largest request in bytes that can be submitted; a larger one is InvalidRequest."""

    pending_s: PositiveFloat = 3600.0
    """Seconds that a prediction may wait to be made. Later it ends as FAILED with DeadlineExceeded; without
    any worker it is forgotten, and answers NotFound, `keep_s` after that."""

    keep_s: PositiveFloat = 3600.0
    """Seconds for which an ended prediction's result, and its idempotency key, are kept. Redis holds as many
    results as end in that time."""

    timeout_s: PositiveFloat = 5.0
    """Seconds that a worker gives one prediction, in place of the pipeline's budget and its stages' caps. A
    larger total budget of the pipeline's stands, up to 0.8 of `claim_after_s`. Longer waits for a slow
    dependency instead of degrading."""

    mini_batch: Annotated[int, Field(ge=1, le=1024)] = 64
    """Most predictions that a worker takes at once; fewer while they take over a quarter of `timeout_s`. What
    a worker that is killed had taken is made again."""

    claim_after_s: PositiveFloat = 30.0
    """Seconds after which a prediction that a worker took and didn't end is given to another. Must be longer
    than `timeout_s`, or work in good hands is done twice (its first result stands)."""

    max_deliveries: PositiveInt = 3
    """How often a prediction is given to a worker before it ends as FAILED and becomes a dead letter."""

    kept_dead_letters: PositiveInt = 1_000
    """About how many dead letters are kept; the oldest give way."""

    max_wait_s: PositiveFloat = 30.0
    """Longest time in seconds for which one GetPrediction waits, whatever it asks for."""

    max_watched: PositiveInt = 1_000
    """How many predictions one WatchPrediction may name; more is InvalidRequest."""

    poll_s: PositiveFloat = 5.0
    """Seconds after which a waiting caller's prediction is looked up although nothing was heard of it: how
    long a lost notification can go unnoticed."""

    @model_validator(mode="after")
    def _claims_only_what_is_late(self) -> Self:
        if self.claim_after_s <= self.timeout_s:
            raise ValueError("claim_after_s must be longer than timeout_s")
        return self
