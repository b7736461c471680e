"""What `forebay precompute` is asked to make: every combination of the ranked entities and of the other
inputs' values, and by which inputs the answers are told apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from forebay.errors import InvalidRequest

from gateway.inputs import InputSchema, InputValue
from gateway.precomputed.keys import input_text
from jobs.combinations import Value
from registry.pipeline_definitions import Pipeline
from registry.precomputed import PrecomputedPart

MAX_ANSWERS = 10_000_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """The inputs of the answers to make.

    `ranked` has a column per input that the ranking gives, all of one length; `combined` the values of those
    that `--combinations` gives; `rest` the one value of every other. `repeated` counts rows of the ranking
    that were left out because the answer to an earlier one is theirs too.
    """

    ranked: Mapping[str, Sequence[Value]]
    combined: Mapping[str, Sequence[Value]]
    rest: Mapping[str, InputValue]
    parts: tuple[PrecomputedPart, ...]
    repeated: int = 0

    @property
    def count(self) -> int:
        """How many answers that are."""
        count = len(next(iter(self.ranked.values()))) if self.ranked else 1
        for values in self.combined.values():
            count *= len(values)
        return count

    def __iter__(self) -> Iterator[dict[str, InputValue]]:
        """Yield every answer's inputs: all combinations for the first entity, then for the next."""
        rows = zip(*self.ranked.values(), strict=True) if self.ranked else iter([()])
        for row in rows:
            fixed = {**self.rest, **dict(zip(self.ranked, row, strict=True))}
            for values in product(*self.combined.values()):
                yield {**fixed, **dict(zip(self.combined, values, strict=True))}


def wanted(
    pipeline: Pipeline,
    schema: InputSchema,
    ranked: Mapping[str, Sequence[Value]],
    combined: Mapping[str, Sequence[Value]],
    widths: Mapping[str, float],
) -> Wanted:
    """Return what to make. An input without values takes its default, which all answers share.

    Raises: InvalidRequest for an input that is given twice, or not at all; for bins of a key field; for two
    values of one bin; for more answers than can be kept.
    """
    for name in ranked:
        if name in combined:
            raise InvalidRequest(f"combinations: the ranking returns {name} already", field="combinations")
    rest: dict[str, InputValue] = {}
    for name, field in schema.fields.items():
        if name in ranked or name in combined:
            continue
        if field.default is None:
            option = "--by or --combinations" if field.is_key else "--combinations"
            raise InvalidRequest(
                f"pipeline {schema.pipeline} needs {name}, which has no default: give it by {option}",
                field=name,
            )
        rest[name] = field.default
    parts = _parts(pipeline, schema, combined, rest, widths)
    different = _different(ranked, parts, schema)
    repeated = len(next(iter(ranked.values()), ())) - len(next(iter(different.values()), ()))
    found = Wanted(different, combined, rest, parts, repeated)
    if found.count > MAX_ANSWERS:
        raise InvalidRequest(
            f"these are {found.count:,} answers, and at most {MAX_ANSWERS:,} can be kept: lower --top, or "
            "combine fewer values",
            field="combinations",
        )
    return found


def _different(
    ranked: Mapping[str, Sequence[Value]], parts: Sequence[PrecomputedPart], schema: InputSchema
) -> Mapping[str, Sequence[Value]]:
    """Return the ranked rows without those whose inputs are, rounded or in bins, those of an earlier one."""
    widths = {part.input: part.bin for part in parts}
    if all(schema.fields[name].is_key for name in ranked):
        return ranked
    seen: set[tuple[str, ...]] = set()
    kept: list[tuple[Value, ...]] = []
    for row in zip(*ranked.values(), strict=True):
        texts = tuple(
            input_text(value, schema.fields[name].dtype, widths[name])
            for name, value in zip(ranked, row, strict=True)
        )
        if texts not in seen:
            seen.add(texts)
            kept.append(row)
    return {name: list(values) for name, values in zip(ranked, zip(*kept, strict=True), strict=True)}


def _parts(
    pipeline: Pipeline,
    schema: InputSchema,
    combined: Mapping[str, Sequence[Value]],
    rest: Mapping[str, InputValue],
    widths: Mapping[str, float],
) -> tuple[PrecomputedPart, ...]:
    """Return the inputs that tell answers apart, in the order of the pipeline's declaration.

    `cache.key` says which inputs matter, and their bins, where it is declared: an input that it leaves out
    matters only if it was given several values, or by the ranking. All inputs matter otherwise.
    """
    declared = (pipeline.cache.key if pipeline.cache else None) or ()
    all_widths = {part.input: part.bin for part in declared if part.bin is not None} | dict(widths)
    matter = {part.input for part in declared} or set(schema.fields)
    parts: list[PrecomputedPart] = []
    for name, field in schema.fields.items():
        width = None if field.is_key else all_widths.get(name)
        if field.is_key and name in widths:
            raise InvalidRequest(f"bin: {name} is a key field, which names one entity", field="bin")
        if name in rest:
            if name in matter:
                parts.append(PrecomputedPart(name, width, input_text(rest[name], field.dtype, width)))
            continue
        if name in combined:
            if len(combined[name]) == 1 and name not in matter:
                continue
            _check_apart(name, combined[name], [input_text(v, field.dtype, width) for v in combined[name]])
        parts.append(PrecomputedPart(name, width))
    return tuple(parts)


def _check_apart(name: str, values: Sequence[Value], texts: Sequence[str]) -> None:
    first: dict[str, Value] = {}
    for value, text in zip(values, texts, strict=True):
        if text in first:
            raise InvalidRequest(
                f"combinations: {name}: {first[text]} and {value} fall into one bin: give one value for each",
                field="combinations",
            )
        first[text] = value
