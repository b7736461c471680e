"""What the client's calls return: views on the answer's columns, unpacked when looked at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, overload

from forebay._arrow import arrow_table
from forebay._pandas import data_frame
from forebay._unpack import ColumnView, row_count
from forebay.types import Degradation, Provenance, StageTiming, Status
from forebay.v1 import prediction_pb2 as pb
from forebay.v1.values_pb2 import Column

_CACHE_NAMES = {
    number: name.removeprefix("CACHE_OUTCOME_")
    for name, number in pb.CacheOutcome.items()
    if number != pb.CACHE_OUTCOME_UNSPECIFIED
}


class Columns(Mapping[str, Any]):
    """An answer's columns by name: each one's values, a row per answered entity."""

    __slots__ = ("_views",)

    def __init__(self, columns: Iterable[Column]) -> None:
        self._views = {column.name: ColumnView(column) for column in columns}

    def __getitem__(self, name: str) -> Any:
        return self.view(name).values

    def __iter__(self) -> Iterator[str]:
        return iter(self._views)

    def __len__(self) -> int:
        return len(self._views)

    @property
    def views(self) -> list[ColumnView]:
        """The columns with their statuses, in order."""
        return list(self._views.values())

    def view(self, name: str) -> ColumnView:
        """Return a column with its statuses. Raises: KeyError naming what there is."""
        try:
            return self._views[name]
        except KeyError:
            raise KeyError(f"{name}: there are {', '.join(self._views) or 'no columns'}") from None


class Row(Mapping[str, Any]):
    """One row of some columns: name -> value, None where absent."""

    __slots__ = ("_columns", "_position")

    def __init__(self, columns: Columns, position: int) -> None:
        self._columns = columns
        self._position = position

    def __getitem__(self, name: str) -> Any:
        return self._columns.view(name).row(self._position)

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def __repr__(self) -> str:
        return repr(dict(self))


class Item:
    """One answered entity: `entity` is its key, `scores` and `features` are by name."""

    __slots__ = ("_answer", "_position")

    def __init__(self, answer: Answer, position: int) -> None:
        self._answer = answer
        self._position = position

    @property
    def entity(self) -> Row:
        return Row(self._answer.entities, self._position)

    @property
    def scores(self) -> Row:
        return Row(self._answer.scores, self._position)

    @property
    def features(self) -> Row:
        return Row(self._answer.features, self._position)

    def status(self, feature: str) -> Status:
        """Return the status of a returned feature."""
        return self._answer.features.view(feature).status(self._position)

    def __repr__(self) -> str:
        return f"Item(entity={self.entity!r}, scores={self.scores!r}, features={self.features!r})"


class Answer(Sequence[Item]):
    """The answered entities in rank order. Items are made when asked for; whole columns are in `entities`,
    `scores` and `features`, by name."""

    __slots__ = ("_count", "_degradations", "_provenance", "entities", "features", "scores")

    def __init__(
        self,
        entities: Sequence[Column],
        scores: Sequence[Column],
        features: Sequence[Column],
        degradations: Sequence[pb.Degradation],
        provenance: pb.Provenance,
    ) -> None:
        self.entities = Columns(entities)
        self.scores = Columns(scores)
        self.features = Columns(features)
        self._count = next((row_count(column.values) for column in (*entities, *scores)), 0)
        self._degradations = degradations
        self._provenance = provenance

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, position: int) -> Item: ...
    @overload
    def __getitem__(self, position: slice) -> Sequence[Item]: ...
    def __getitem__(self, position: int | slice) -> Item | Sequence[Item]:
        rows = range(self._count)
        if isinstance(position, slice):
            return [Item(self, row) for row in rows[position]]
        return Item(self, rows[position])

    def __repr__(self) -> str:
        return f"Answer({list(self)!r})"

    @property
    def degradations(self) -> list[Degradation]:
        """What the answer had to leave out or replace; empty for a whole answer."""
        return [
            Degradation(each.stage, each.subject, each.reason, each.action, each.count)
            for each in self._degradations
        ]

    @property
    def provenance(self) -> Provenance:
        """What made the answer."""
        return provenance_of(self._provenance)


class FeatureTable:
    """Features read, a row per entity asked for, in the same order."""

    __slots__ = ("_columns", "_keys")

    def __init__(self, columns: Sequence[Column], keys: Sequence[Column] = ()) -> None:
        """Hold the features' columns, and the keys that were asked for."""
        self._columns = Columns(columns)
        self._keys = Columns(keys)

    def __len__(self) -> int:
        return next((len(self._columns.view(name)) for name in self._columns), 0)

    @property
    def names(self) -> list[str]:
        """The features, in the order asked for."""
        return list(self._columns)

    def values(self, name: str) -> Any:
        """Return a feature's values, a row per entity.

        Shapes: with numpy an array (n,) or (n, length), NaN or NaT where absent, other types meaning nothing
        there; strings and variable lists, and everything without numpy, are lists with None where absent.
        Raises: KeyError.
        """
        return self._columns[name]

    def statuses(self, name: str) -> Any:
        """Return a `Status` per entity: (n,) uint8 with numpy, else a list. Raises: KeyError."""
        return self._columns.view(name).statuses

    def event_times(self, name: str) -> Any:
        """Return when each value was true; None if that was not asked for. Raises: KeyError.

        Shapes: (n,) datetime64[us] in UTC with numpy, NaT where there is no row; else a list of datetimes,
        with None there.
        """
        return self._columns.view(name).event_times

    def to_arrow(self, *, statuses: bool = True) -> Any:
        """Return a `pyarrow.Table`: the key columns, then each feature, typed as it is declared, null where
        there is no value; beside it `<feature>.status`, by name, and `<feature>.event_time` if asked for.

        Raises: NotUsable where pyarrow isn't installed (`forebay[arrow]`).
        Cost: no copy of numbers; a step per row for strings, booleans and statuses.
        """
        return arrow_table(self._keys.views, self._columns.views, statuses)

    def to_pandas(self, *, statuses: bool = True) -> Any:
        """Return a `pandas.DataFrame` with the columns of `to_arrow`.

        A column's dtype depends on its feature alone: Int32, Int64, boolean and string, which know of missing
        values; floats with NaN; datetime64[us, UTC] with NaT; lists as objects, arrays or None. Statuses are
        categories.

        Raises: NotUsable where pandas isn't installed (`forebay[pandas]`).
        """
        return data_frame(self._keys.views, self._columns.views, statuses)


def provenance_of(message: pb.Provenance) -> Provenance:
    """Return the message as a value."""
    return Provenance(
        prediction_id=message.prediction_id,
        release=message.release,
        model=message.model,
        model_version=message.model_version,
        index=message.index,
        index_version=message.index_version,
        cache=_CACHE_NAMES.get(message.cache, ""),
        cache_age_us=message.cache_age_us,
        oldest_as_of_us=message.oldest_as_of_us,
        stages=tuple(
            StageTiming(stage.stage, stage.start_us, stage.duration_us, stage.given_us)
            for stage in message.stages
        ),
        trace_id=message.trace_id,
    )
