"""The rules within and between entities, sources, streams, views, indexes and models."""

from __future__ import annotations

import re
from collections.abc import Iterable

from registry.constants import mismatch
from registry.data_definitions import AGGREGATES, Batch, Index, Model, Stream, View, Window, split_column
from registry.dtypes import DType, Scalar
from registry.durations import format_duration
from registry.problems import FilePath, suggestion
from registry.rings import MAX_TILES, ring_of
from registry.scope import RESERVED_VIEWS, Scope

KEY_SCALARS = (Scalar.INT32, Scalar.INT64, Scalar.STRING)
MAX_FIXED_BYTES = 1 << 19
"""Of a row's fixed part: half of the widest row, and the other half for strings and variable lists."""
_STREAM_NAME = re.compile(r"[A-Za-z0-9_.-]{1,200}")
RESERVED_FEATURES = ("event_time",)
"""Column names that mean something else in a batch's rows."""


def check_data(scope: Scope) -> None:
    """Report every broken rule outside of pipelines."""
    application = scope.application
    _check_entities(scope)
    for name, source in application.sources.items():
        check_one_of(scope, ("sources", name), source, ("parquet", "csv", "sql"))
    for name, stream in application.streams.items():
        _check_stream(scope, ("streams", name), stream)
    for name, view in application.views.items():
        _check_view(scope, name, view)
    _check_spaces(scope)
    for name, index in application.indexes.items():
        _check_index(scope, ("indexes", name), index)
    for name, model in application.models.items():
        _check_model(scope, ("models", name), model)


def _check_entities(scope: Scope) -> None:
    for name, entity in scope.application.entities.items():
        for field, dtype in entity.key.items():
            path = ("entities", name, "key", field)
            if dtype.is_list or dtype.scalar not in KEY_SCALARS:
                scope.report(path, f"a key field is int32, int64 or string, not {dtype}")
            _check_not_reserved(scope, path, field)


def _check_not_reserved(scope: Scope, path: FilePath, name: str) -> None:
    if name in RESERVED_FEATURES:
        scope.report(path, f"{name!r} is reserved: it is the time that a row carries")


def check_one_of(scope: Scope, path: FilePath, definition: object, names: Iterable[str]) -> None:
    """Report unless exactly one of the fields is given; silent where one was given in a wrong form."""
    names = list(names)
    given = [name for name in names if getattr(definition, name) is not None]
    given += [name for name in names if name not in given and scope.is_broken(*path, name)]
    if len(given) == 0:
        scope.report(path, f"needs one of {', '.join(names)}")
    elif len(given) > 1:
        scope.report(path, f"has {' and '.join(given)}: give only one of {', '.join(names)}")


def _check_stream(scope: Scope, path: FilePath, stream: Stream) -> None:
    check_one_of(scope, path, stream, ("redis", "kafka"))
    declared = scope.names(*path, "fields")
    for role in ("event_time", "partition_by"):
        field = getattr(stream, role)
        if field not in declared:
            scope.report((*path, role), f"unknown field {field!r}: {suggestion(field, declared)}")
    event_time = stream.fields.get(stream.event_time)
    if event_time is not None and event_time != DType(Scalar.TIMESTAMP):
        scope.report((*path, "event_time"), f"{stream.event_time!r} must be a timestamp, not {event_time}")
    if stream.history is not None:
        scope.knows("sources", stream.history, (*path, "history"))
    for field, dtype in stream.fields.items():
        if dtype.is_list:
            scope.report((*path, "fields", field), f"an event's fields are single values, not {dtype}")
    if stream.redis is not None and not _STREAM_NAME.fullmatch(stream.redis.stream):
        what = "is part of keys in Redis: letters, digits, - _ and ."
        scope.report((*path, "redis", "stream"), f"{stream.redis.stream!r} {what}")


def _check_view(scope: Scope, name: str, view: View) -> None:
    path = ("views", name)
    if name in RESERVED_VIEWS:
        scope.report(path, f"{name!r} is reserved: model inputs say {name}.something")
    if scope.knows("entities", view.entity, (*path, "entity")):
        _check_no_key_fields(scope, path, view)
    if view.batch is not None:
        check_one_of(scope, (*path, "batch"), view.batch, ("sql", "source"))
        if view.batch.source is not None:
            scope.knows("sources", view.batch.source, (*path, "batch", "source"))
        if view.stream is not None:
            scope.report(path, "has batch and stream: give only one of them")
        _check_batch_checks(scope, path, view, view.batch)
    if not scope.names(*path, "features") and not scope.names(*path, "windows"):
        scope.report(path, "needs at least one feature")
    _check_features(scope, path, view)
    _check_width(scope, path, view)
    _check_windows(scope, path, view)


def _check_batch_checks(scope: Scope, view_path: FilePath, view: View, batch: Batch) -> None:
    path = (*view_path, "batch", "checks")
    rows, declared = batch.checks.rows, scope.names(*view_path, "features")
    if rows.min is not None and rows.max is not None and rows.min > rows.max:
        scope.report((*path, "rows", "min"), f"is above max, which is {rows.max}")
    if rows.max_change is not None and batch.publish == "upsert":
        what = "compares with the rows that a swap replaces: rows that are upserted replace none"
        scope.report((*path, "rows", "max_change"), what)
    for part in ("nulls", "ranges"):
        for feature in getattr(batch.checks, part):
            if feature not in declared:
                known = suggestion(feature, declared)
                scope.report((*path, part, feature), f"the view has no feature {feature!r}: {known}")
    for feature, allowed in batch.checks.ranges.items():
        dtype = view.dtypes.get(feature)
        if dtype is not None and not (dtype.scalar.is_float or dtype.scalar.is_integer):
            scope.report((*path, "ranges", feature), f"only numbers have a range, not {dtype}")
        if allowed.min is None and allowed.max is None:
            scope.report((*path, "ranges", feature), "needs one of min, max")
        elif allowed.min is not None and allowed.max is not None and allowed.min > allowed.max:
            scope.report((*path, "ranges", feature), "its least value is above its greatest")


def _check_features(scope: Scope, path: FilePath, view: View) -> None:
    for feature, definition in view.features.items():
        inner = (*path, "features", feature)
        _check_not_reserved(scope, inner, feature)
        if definition.dtype.is_list and definition.dtype.scalar is Scalar.STRING:
            scope.report((*inner, "dtype"), "rows hold strings, but no lists of strings")
        if definition.default is not None:
            _check_constant(scope, (*inner, "default"), definition.default, definition.dtype)
        if definition.space is not None and not _is_vector(definition.dtype):
            scope.report(
                (*inner, "space"), f"only a fixed list of floats lies in a space, not {definition.dtype}"
            )


def _check_width(scope: Scope, path: FilePath, view: View) -> None:
    width = sum(
        feature.dtype.length * feature.dtype.scalar.numpy.itemsize
        for feature in view.features.values()
        if not feature.dtype.is_variable
    )
    if width > MAX_FIXED_BYTES:
        what = (
            f"its scalars and fixed lists take {width} bytes a row; at most {MAX_FIXED_BYTES}: split the view"
        )
        scope.report((*path, "features"), what)


def _check_no_key_fields(scope: Scope, path: FilePath, view: View) -> None:
    for part in ("features", "windows"):
        for feature in getattr(view, part):
            if feature in scope.application.entities[view.entity].key:
                scope.report((*path, part, feature), f"{feature!r} is a key field of entity {view.entity!r}")


def _check_constant(scope: Scope, path: FilePath, value: object, dtype: DType) -> None:
    reason = mismatch(value, dtype)
    if reason is not None:
        scope.report(path, reason)


def _check_windows(scope: Scope, path: FilePath, view: View) -> None:
    if view.stream is None:
        if view.windows:
            scope.report((*path, "windows"), "needs a stream: windows aggregate its events")
        return
    if not scope.names(*path, "windows"):
        scope.report((*path, "stream"), "has no windows to aggregate its events")
    if not scope.knows("streams", view.stream, (*path, "stream")):
        return
    stream = scope.application.streams[view.stream]
    for name in view.features:
        what = "a view over a stream has windows only: nothing would ever write this feature"
        scope.report((*path, "features", name), what)
    for name, window in view.windows.items():
        _check_not_reserved(scope, (*path, "windows", name), name)
        _check_window(scope, (*path, "windows", name), window, view.stream, stream)
    _check_ring(scope, path, view)
    if (
        view.near_cache_us is not None
        and view.max_age_us is not None
        and view.near_cache_us >= view.max_age_us
    ):
        what = "kept rows are as old as when they may have been read: with max_age no longer all read STALE"
        scope.report((*path, "near_cache"), what, "warning")
    entity = scope.application.entities.get(view.entity)
    for field, dtype in entity.key.items() if entity is not None else ():
        if stream.fields.get(field, dtype) != dtype or field not in scope.names(
            "streams", view.stream, "fields"
        ):
            scope.report((*path, "stream"), f"stream {view.stream!r} has no field {field!r} of type {dtype}")


def _check_window(scope: Scope, path: FilePath, window: Window, stream_name: str, stream: Stream) -> None:
    check_one_of(scope, path, window, AGGREGATES)
    declared = scope.names("streams", stream_name, "fields")
    for aggregate, field in window.aggregates.items():
        if field not in declared:
            scope.report(
                (*path, aggregate),
                f"stream {stream_name!r} has no field {field!r}: {suggestion(field, declared)}",
            )
        elif aggregate != "count" and field in stream.fields and not _is_number(stream.fields[field]):
            scope.report(
                (*path, aggregate), f"{aggregate} needs a number; {field!r} is {stream.fields[field]}"
            )
    if window.over_us % window.tile_us:
        scope.report((*path, "over"), "must be a whole multiple of tile")
    elif window.over_us // window.tile_us >= MAX_TILES:
        tiles = window.over_us // window.tile_us
        what = f"makes {tiles} tiles of the window, and a part of one; at most {MAX_TILES} are kept"
        scope.report((*path, "tile"), what)
    if window.default is not None:
        _check_constant(scope, (*path, "default"), window.default, window.dtype)


def _check_ring(scope: Scope, path: FilePath, view: View) -> None:
    """Windows of a view share tiles, of the greatest size that divides all of theirs."""
    fitting = {
        name: window
        for name, window in view.windows.items()
        if window.over_us % window.tile_us == 0 and window.over_us // window.tile_us < MAX_TILES
    }
    if not fitting:
        return
    ring = ring_of(fitting.values())
    for name, window in fitting.items():
        tiles = ring_of([window]).span_us // ring.tile_us
        if tiles > MAX_TILES:
            scope.report(
                (*path, "windows", name, "tile"),
                f"the view's windows share tiles of {format_duration(ring.tile_us)}, and this one needs "
                f"{tiles} of them; at most {MAX_TILES} are kept: choose other tiles, or a view of its own",
            )


def _is_number(dtype: DType) -> bool:
    return not dtype.is_list and (dtype.scalar.is_float or dtype.scalar.is_integer)


def _is_vector(dtype: DType) -> bool:
    return dtype.is_list and dtype.length > 0 and dtype.scalar.is_float


def _check_spaces(scope: Scope) -> None:
    """Vectors of one space have one type."""
    first: dict[str, tuple[str, DType]] = {}
    for view_name, view in scope.application.views.items():
        for name, feature in view.features.items():
            if feature.space is None:
                continue
            column, dtype = first.setdefault(feature.space, (f"{view_name}.{name}", feature.dtype))
            if dtype != feature.dtype:
                scope.report(
                    ("views", view_name, "features", name, "dtype"),
                    f"space {feature.space!r} holds {dtype} ({column}), not {feature.dtype}",
                )


def _check_index(scope: Scope, path: FilePath, index: Index) -> None:
    if scope.knows("entities", index.entity, (*path, "entity")):
        key = scope.application.entities[index.entity].key
        if len(key) > 1:
            scope.report(
                (*path, "entity"),
                f"an index needs an entity with one key field; {index.entity!r} has {len(key)}",
            )
    vector = (*path, "vector")
    dtype = scope.column(index.vector, vector)
    if dtype is not None and not _is_vector(dtype):
        scope.report(vector, f"must be a fixed list of floats; {index.vector} is {dtype}")
    view = scope.application.views.get(split_column(index.vector)[0])
    entities = scope.names("entities")
    if view is not None and view.entity != index.entity and {view.entity, index.entity} <= set(entities):
        scope.report(vector, f"is of entity {view.entity!r}, but the index is of {index.entity!r}")


_INPUT_SCALARS = (
    Scalar.BOOL,
    Scalar.INT32,
    Scalar.INT64,
    Scalar.FLOAT16,
    Scalar.FLOAT32,
    Scalar.FLOAT64,
)


def _check_model(scope: Scope, path: FilePath, model: Model) -> None:
    for name, part in model.inputs.items():
        inner = (*path, "inputs", name)
        if part.dtype.is_list or part.dtype.scalar not in _INPUT_SCALARS:
            scope.report(
                (*inner, "dtype"), f"must be a number or bool, not {part.dtype}: columns make its width"
            )
            continue
        for place, column in enumerate(part.columns):
            _check_input_column(scope, (*inner, "columns", str(place)), column, part.dtype)
    for key in model.traffic:
        if key != "champion":
            scope.report(
                (*path, "traffic", key),
                "only champion is declared here; `forebay models traffic` changes live traffic",
            )


def _check_input_column(scope: Scope, path: FilePath, column: str, target: DType) -> None:
    view, feature = split_column(column)
    if view == "retrieve" and feature != "score":
        scope.report(path, f"retrieve gives 'score', not {feature!r}")
    elif view == "retrieve" and not target.scalar.is_float:
        scope.report(path, f"{column} is a float, which an input of {target} can't hold")
    if view in RESERVED_VIEWS:
        return
    dtype = scope.column(column, path)
    if dtype is not None:
        check_input_dtype(scope, path, column, dtype, target)


def check_input_dtype(scope: Scope, path: FilePath, column: str, dtype: DType, target: DType) -> None:
    """Report a column that a model's input of type `target` can't hold."""
    if dtype.scalar is Scalar.STRING:
        scope.report(path, f"{column} is a string; a model takes numbers")
    elif dtype.is_variable_list:
        scope.report(path, f"{column} is a list of variable length; a model takes a fixed width")
    elif dtype.scalar.is_float and not target.scalar.is_float:
        scope.report(path, f"{column} is {dtype}, which an input of {target} can't hold")
    elif dtype.scalar is Scalar.TIMESTAMP and target.scalar in (Scalar.FLOAT16, Scalar.FLOAT32):
        scope.report(
            path,
            f"{column} is a timestamp: as {target} it is rounded to minutes; take an age or an hour "
            "in the SQL, or make the input float64 or int64",
            "warning",
        )
