"""The settings of stream workers and of what publishes events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from runtime.settings_group import Group


class StreamSettings(Group):
    """How `forebay stream run` takes events, and what it keeps of those that are no good."""

    chunk_events: Annotated[int, Field(ge=1, le=65_536)] = 2_000
    """Most events of a partition that are taken, decoded and applied together. More costs memory and makes
    each event of a backlog wait for the others of its chunk; fewer cost throughput."""

    replay_window_s: Annotated[float, Field(ge=0)] = 60.0
    """Seconds before its checkpoint from which a worker reads a partition again when it starts, and after the
    store was gone. Rows ignore what they have; it brings back what a failover of the store took with it, so
    it must exceed the longest replication lag."""

    max_skew_s: PositiveFloat = 60.0
    """Seconds by which an event's time may be ahead of the worker's clock; later ones become dead letters."""

    allowed_lateness_s: Annotated[float, Field(ge=0)] = 10.0
    """Seconds by which events may be out of order: while a worker catches up, its views count as complete up
    to the newest event time seen less this."""

    idle_margin_s: Annotated[float, Field(ge=0)] = 1.0
    """Seconds behind the clock up to which a view counts as complete when its partition's end is reached: how
    long an event may be on its way from its producer to the stream."""

    checkpoint_s: PositiveFloat = 0.5
    """Seconds between two writes of a partition's checkpoint and watermark. Longer makes views look older
    than they are, and a killed worker's successor read more events again."""

    lease_s: Annotated[float, Field(ge=1)] = 10.0
    """Seconds for which a worker has a partition to itself unless it renews that. How long the partitions of
    a worker that was killed rest, at most."""

    retry_longest_s: PositiveFloat = 5.0
    """Longest pause in seconds between two attempts of a partition whose events can't be applied."""

    kafka_options: Mapping[str, str] = Field(default_factory=dict, repr=False)
    """Options of librdkafka for every Kafka source and for publishing: `security.protocol`, `sasl.username`
    and the like. Which servers and topic is said by the application file."""

    max_letter_bytes: PositiveInt = 8_192
    """Bytes kept of an event that becomes a dead letter; a longer one is cut, and can't be put back."""

    kept_dead_letters: PositiveInt = 10_000
    """About how many dead letters are kept per partition; the oldest give way."""

    kept_events: PositiveInt = 1_000_000
    """About how many events `forebay stream publish` lets a partition of a Redis stream hold; the oldest give
    way, read or not. 0.1 to 0.3 KB each in the server's memory."""

    history_chunk_events: Annotated[int, Field(ge=1, le=65_536)] = 20_000
    """Events of a view's history that are applied between two notes of how far a backfill is."""

    @model_validator(mode="after")
    def _lease_outlives_checkpoints(self) -> Self:
        if self.lease_s < 2 * self.checkpoint_s:
            raise ValueError("lease_s must be at least twice checkpoint_s")
        return self
