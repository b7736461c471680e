"""A plain line chart as SVG: axes with labels, ticks, lines of points, a legend. No dependency, and equal
bytes for equal data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10
from xml.sax.saxutils import escape

_WIDTH, _HEIGHT = 640, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 20, 62, 52
_COLOURS = ("#1f5fa8", "#c0392b", "#2e7d4f", "#8e6bb0")
_TICKS = 6
_OPENING = (
    f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" '
    f'height="{_HEIGHT}" font-family="sans-serif" font-size="12" fill="#222">'
)


@dataclass(frozen=True, slots=True)
class Line:
    """Points that belong together, in the order of x. `dashed`: a bound, drawn without points."""

    name: str
    points: Sequence[tuple[float, float]]
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Chart:
    """What is drawn. Both axes begin at 0."""

    title: str
    x_label: str
    y_label: str
    lines: Sequence[Line]


def ticks(highest: float) -> list[float]:
    """Return round numbers from 0 to the first that is not below `highest`."""
    step = _round_step(highest / _TICKS)
    return [round(step * number, 10) for number in range(ceil(highest / step - 1e-9) + 1)]


def drawn(chart: Chart) -> str:
    """Return the chart as an SVG document."""
    points = [point for line in chart.lines for point in line.points]
    xs, ys = ticks(max(x for x, _ in points)), ticks(max(y for _, y in points))
    frame = _Frame(xs[-1], ys[-1])
    parts = [
        _OPENING,
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>',
        _text(_LEFT, 22, chart.title, 'font-size="14" font-weight="bold"'),
    ]
    parts += [_x_tick(frame, x) for x in xs] + [_y_tick(frame, y) for y in ys]
    parts.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 12, chart.x_label, 'text-anchor="middle"'))
    middle = (_TOP + _HEIGHT - _BOTTOM) / 2
    turned = f'text-anchor="middle" transform="rotate(-90 16 {middle:g})"'
    parts.append(_text(16, middle, chart.y_label, turned))
    for place, line in enumerate(chart.lines):
        parts += _line(frame, line, _COLOURS[place % len(_COLOURS)])
        parts.append(_legend(line, place, _COLOURS[place % len(_COLOURS)]))
    return "\n".join([*parts, "</svg>", ""])


class _Frame:
    """Where values lie on the paper."""

    def __init__(self, highest_x: float, highest_y: float) -> None:
        self._x_scale = (_WIDTH - _LEFT - _RIGHT) / highest_x
        self._y_scale = (_HEIGHT - _TOP - _BOTTOM) / highest_y

    def x(self, value: float) -> float:
        return round(_LEFT + value * self._x_scale, 1)

    def y(self, value: float) -> float:
        return round(_HEIGHT - _BOTTOM - value * self._y_scale, 1)


def _line(frame: _Frame, line: Line, colour: str) -> list[str]:
    places = [(frame.x(x), frame.y(y)) for x, y in line.points]
    path = " ".join(f"{x:g},{y:g}" for x, y in places)
    dash = ' stroke-dasharray="5 4"' if line.dashed else ""
    drawn_line = f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>'
    dots = (
        [] if line.dashed else [f'<circle cx="{x:g}" cy="{y:g}" r="3" fill="{colour}"/>' for x, y in places]
    )
    return [drawn_line, *dots]


def _legend(line: Line, place: int, colour: str) -> str:
    x, y = _LEFT + 180 * place, _TOP - 16
    return f'<rect x="{x}" y="{y - 8}" width="14" height="4" fill="{colour}"/>' + _text(
        x + 20, y - 2, line.name
    )


def _x_tick(frame: _Frame, value: float) -> str:
    x, bottom = frame.x(value), _HEIGHT - _BOTTOM
    return _rule(x, _TOP, x, bottom) + _text(x, bottom + 18, f"{value:g}", 'text-anchor="middle"')


def _y_tick(frame: _Frame, value: float) -> str:
    y = frame.y(value)
    return _rule(_LEFT, y, _WIDTH - _RIGHT, y) + _text(_LEFT - 8, y + 4, f"{value:g}", 'text-anchor="end"')


def _rule(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" stroke="#ddd"/>'


def _text(x: float, y: float, text: str, more: str = "") -> str:
    return f'<text x="{x:g}" y="{y:g}"{" " if more else ""}{more}>{escape(text)}</text>'


def _round_step(least: float) -> float:
    """Return 1, 2 or 5 times a power of ten: the first that is not below `least`."""
    power = 10.0 ** floor(log10(least))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least * (1 - 1e-9))
