"""One request drawn in the terminal: its steps as bars on a common time line, what it had to leave out, and
what made the answer. `trace.py` and `demo.py` fetch the requests.
"""

from __future__ import annotations

from typing import Any

from forebay.v1 import admin_pb2, prediction_pb2
from google.protobuf.json_format import MessageToDict
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cli.console import instant

BAR_CELLS = 44
"""Characters that the whole request's duration takes."""

_GIVEN = "dim"
_TAKEN = {"predict": "magenta", "retrieve": "cyan", "hydrate": "green", "hydrate_candidates": "green"}


def waterfall(request: admin_pb2.RecentRequest) -> RenderableType:
    """Return a request as something that rich prints."""
    return Group(_headline(request), _steps(request), *_degradations(request), _origin(request))


def as_dict(request: admin_pb2.RecentRequest) -> dict[str, Any]:
    """Return a request as JSON has it: proto field names; 64-bit integers are numbers here."""
    fields: dict[str, Any] = MessageToDict(
        request, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return {name: _number(name, value) for name, value in fields.items()}


def bar(start_us: int, duration_us: int, total_us: int, cells: int = BAR_CELLS) -> tuple[int, int]:
    """Return where a bar begins and how many cells it covers: at least one, never past the end."""
    scale = cells / max(total_us, 1)
    begin = min(int(start_us * scale), cells - 1)
    end = min(max(round((start_us + duration_us) * scale), begin + 1), cells)
    return begin, end - begin


def microseconds(value_us: int) -> str:
    """Return a duration as a person reads it."""
    if value_us < 1000:
        return f"{value_us} us"
    return f"{value_us / 1000:.2f} ms" if value_us < 1_000_000 else f"{value_us / 1e6:.2f} s"


def _headline(request: admin_pb2.RecentRequest) -> Text:
    status_style = "bold green" if request.status == "OK" else "bold red"
    given = f" of {microseconds(request.given_us)} given" if request.given_us else ""
    return Text.assemble(
        (request.pipeline or request.method, "bold"),
        "  ",
        (request.status, status_style),
        f"  {microseconds(request.duration_us)}{given}  ",
        (instant(request.started_at_us), "dim"),
    )


def _steps(request: admin_pb2.RecentRequest) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("step")
    for name in ("start", "took", "given"):
        table.add_column(name, justify="right")
    table.add_column(_axis(request.duration_us), no_wrap=True)
    for stage in request.provenance.stages:
        given = microseconds(stage.given_us) if stage.given_us else ""
        table.add_row(
            stage.stage,
            microseconds(stage.start_us),
            microseconds(stage.duration_us),
            given,
            _drawn(stage, request.duration_us),
        )
    return table


def _axis(total_us: int) -> str:
    end = microseconds(total_us)
    return "0" + end.rjust(BAR_CELLS - 1)


def _drawn(stage: prediction_pb2.StageTiming, total_us: int) -> Text:
    begin, length = bar(stage.start_us, stage.duration_us, total_us)
    style = _TAKEN.get(stage.stage, "blue")
    rest = BAR_CELLS - begin - length
    return Text.assemble((" " * begin, _GIVEN), ("█" * length, style), (" " * rest, _GIVEN))


def _degradations(request: admin_pb2.RecentRequest) -> list[Text]:
    return [
        Text(
            f"degraded: {item.stage} {item.subject}: {item.reason} -> {item.action}"
            + (f" ({item.count} rows)" if item.count > 1 else ""),
            style="yellow",
        )
        for item in request.degradations
    ]


def _origin(request: admin_pb2.RecentRequest) -> Text:
    made = request.provenance
    parts = [
        _cache(made),
        f"release {made.release}" if made.release else "",
        f"model {made.model} {made.model_version}" if made.model else "",
        f"index {made.index} {made.index_version}" if made.index else "",
        f"oldest row as of {instant(made.oldest_as_of_us)}" if made.oldest_as_of_us else "",
        f"prediction {made.prediction_id}" if made.prediction_id else "",
        f"trace {made.trace_id}" if made.trace_id else "",
    ]
    return Text("  ".join(part for part in parts if part), style="dim")


def _cache(made: prediction_pb2.Provenance) -> str:
    """Return how the prediction cache took part; nothing where it didn't."""
    if made.cache in (prediction_pb2.CACHE_OUTCOME_UNSPECIFIED, prediction_pb2.CACHE_OUTCOME_OFF):
        return ""
    outcome = prediction_pb2.CacheOutcome.Name(made.cache).removeprefix("CACHE_OUTCOME_")
    return f"cache {outcome}" + (f", {microseconds(made.cache_age_us)} old" if made.cache_age_us else "")


def _with_numbers(value: Any) -> Any:
    """Return a JSON value with 64-bit integers (`..._us`, `release`) as numbers; protobuf makes them text."""
    if isinstance(value, list):
        return [_with_numbers(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {name: _number(name, item) for name, item in value.items()}


def _number(name: str, value: Any) -> Any:
    is_number = isinstance(value, str) and (name.endswith("_us") or name == "release")
    return int(value) if is_number else _with_numbers(value)
