"""What `forebay doctor` says of a stream."""

from __future__ import annotations

from cli.checks import Check
from jobs.stream.status import StreamStatus


def stream_check(status: StreamStatus) -> Check:
    """Return how a stream is: the worst first, and what to do about it."""
    name = f"stream {status.stream}"
    problems = [part.problem for part in status.partitions if part.problem]
    if status.problem or problems:
        return Check(
            name, "fail", status.problem or problems[0], f"`forebay stream status {status.stream}` tells more"
        )
    lost, letters, lag = status.count("lost"), status.dead_letters, status.lag_events
    if lost:
        fix = "let the stream keep more than its workers may be behind, and run more workers"
        return Check(name, "warn", f"{lost:,} events were dropped before they were read", fix)
    if lag and not any(part.worker for part in status.partitions):
        return Check(name, "warn", f"nobody reads it, {lag:,} events behind", "run `forebay stream run`")
    waiting = [view.view for view in status.views if view.history not in ("", "done")]
    if waiting:
        return Check(
            name, "warn", f"the history of {', '.join(waiting)} isn't in", "run `forebay stream run`"
        )
    if letters:
        fix = f"`forebay stream dead-letters {status.stream}` tells why"
        return Check(name, "warn", f"{letters:,} events were refused", fix)
    return Check(name, "ok", f"{status.source}, {len(status.partitions)} partitions, {lag:,} events behind")
