"""Everything movies.yaml points to, made in one directory: tables under data/, the ranker under models/.

The order of work: ratings.py, taste.py, features.py, training.py, ranker.py (with crosses.py), tables.py.
"""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np

from examples.movies.application import read_application
from examples.movies.prepare.features import END_S, MovieHistory, user_features
from examples.movies.prepare.ranker import Ranker, train_ranker
from examples.movies.prepare.ratings import Catalogue, Ratings, hold_out, load_movielens
from examples.movies.prepare.tables import write_movies, write_ratings, write_user_taste
from examples.movies.prepare.taste import factorise
from examples.movies.prepare.training import movie_features, seen_by_user, training_set

APPLICATION = Path(__file__).parent.parent
RECORD = Path("data/prepared.json")
MOVIES = Path("data/movies.parquet")
USER_TASTE = Path("data/user_taste.parquet")
RANKER = Path("models/ranker/1/model.onnx")
LIVE_RATINGS = 3_000
"""So many of the held-out ratings, the newest, are there to be published on the stream."""
GAP_US = 60_000_000
"""The last rating of all is this long before `now`."""

_OUTPUTS = (MOVIES, USER_TASTE, RANKER)


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a preparation made. `reused` says that tables and ranker were there already."""

    inputs: str
    user_count: int
    movie_count: int
    unrated_movie_count: int
    training_rating_count: int
    held_out_rating_count: int
    ranker_row_count: int
    ranker_liked_share: float
    shift_us: int
    last_rating_at_us: int
    reused: bool

    def lines(self) -> list[str]:
        """The preparation in plain sentences."""
        last = np.datetime64(self.last_rating_at_us, "us").astype("datetime64[s]")
        days = self.shift_us / 86_400_000_000
        unrated = f"{self.unrated_movie_count:,} more have none and are left out"
        liked = f"{self.ranker_liked_share:.1%} liked next"
        return [
            f"{self.user_count:,} users, {self.movie_count:,} movies with a training rating; {unrated}",
            f"{self.training_rating_count:,} ratings to train on, {self.held_out_rating_count:,} held out",
            f"ranker trained on {self.ranker_row_count:,} candidates, {liked}",
            f"all times shifted by {self.shift_us} us ({days:,.2f} days): the last rating is at {last} UTC",
        ]


def prepare(
    directory: Path,
    now_us: int,
    progress: Callable[[str], None] = lambda line: None,
    *,
    validation: bool = False,
) -> Prepared:
    """The directory holds movies.yaml (copied if absent) and all it names; ratings end a minute before now.

    Tables and ranker are made anew only where the data, this code or movies.yaml differ from the last time;
    the ratings, whose times depend on `now_us`, are written each time. `validation` forgets the held-out
    ratings and holds out the last fifth of the rest instead: for choosing a model without looking at them.
    Cost: about 15 seconds and 500 MB the first time, about 2 seconds after. Raises: ValueError if movies.yaml
    asks for a column that is not made here.
    """
    definition = _lay_out(directory)
    progress("reading MovieLens")
    source = _read_source(now_us, validation)
    write_ratings(directory / "data/ratings.parquet", source.training, source.catalogue, source.shift_us)
    write_ratings(directory / "data/holdout.parquet", source.held_out, source.catalogue, source.shift_us)
    live = source.held_out.newest(LIVE_RATINGS)
    write_ratings(directory / "data/live.parquet", live, source.catalogue, source.shift_us)
    inputs = _inputs_digest(source.digest, definition, validation)
    prepared = _previous(directory, inputs)
    if prepared is not None:
        progress("tables and ranker are there already")
        prepared = replace(prepared, reused=True, shift_us=source.shift_us, last_rating_at_us=now_us - GAP_US)
    else:
        (directory / RECORD).unlink(missing_ok=True)
        ranker = _fit(directory, source, progress)
        prepared = _prepared(inputs, source, ranker, now_us)
    (directory / RECORD).write_text(json.dumps(asdict(prepared), indent=1) + "\n", encoding="utf-8")
    return prepared


@dataclass(frozen=True, slots=True)
class _Source:
    catalogue: Catalogue
    training: Ratings
    held_out: Ratings
    shift_us: int
    digest: str


def _lay_out(directory: Path) -> Path:
    for folder in (directory / "data", (directory / RANKER).parent):
        folder.mkdir(parents=True, exist_ok=True)
    definition = directory / "movies.yaml"
    if not definition.exists():
        shutil.copyfile(APPLICATION / "movies.yaml", definition)
    return definition


def _read_source(now_us: int, validation: bool) -> _Source:
    catalogue, ratings, digest = load_movielens()
    shift_us = now_us - GAP_US - int(ratings.at_s.max()) * 1_000_000
    training, held_out = hold_out(ratings)
    if validation:
        training, held_out = hold_out(training)
    return _Source(catalogue, training, held_out, shift_us, digest)


def _inputs_digest(data: str, definition: Path, validation: bool) -> str:
    """Changes with the data, movies.yaml, this code and the libraries that fit."""
    digest = hashlib.sha256(f"{data} {validation}".encode())
    code = sorted([*Path(__file__).parent.glob("*.py"), *APPLICATION.glob("*.py")])
    for path in [definition, *code]:
        digest.update(path.read_bytes())
    for package in ("numpy", "scikit-learn", "skl2onnx", "onnx"):
        digest.update(version(package).encode())
    return digest.hexdigest()


def _previous(directory: Path, inputs: str) -> Prepared | None:
    record = directory / RECORD
    if not record.exists() or not all((directory / path).exists() for path in _OUTPUTS):
        return None
    fields = json.loads(record.read_text(encoding="utf-8"))
    return Prepared(**fields) if fields.get("inputs") == inputs else None


def _fit(directory: Path, source: _Source, progress: Callable[[str], None]) -> Ranker:
    catalogue, training = source.catalogue, source.training
    application = read_application(directory / "movies.yaml")
    progress("embedding users and movies")
    taste = factorise(training, catalogue)
    rated = np.unique(training.movie)
    end = np.full(len(rated), END_S, dtype=np.int64)
    as_of = MovieHistory(training, len(catalogue.movies)).as_of(rated, end)
    seen = seen_by_user(training, len(catalogue.users))
    write_movies(directory / MOVIES, catalogue, rated, movie_features(as_of, taste, catalogue, rated))
    write_user_taste(
        directory / USER_TASTE, catalogue, {**user_features(training, catalogue), **taste.users}, seen
    )
    progress("collecting the ranker's training set")
    examples = training_set(training, catalogue, application)
    progress(f"training the ranker on {len(examples.liked):,} candidates")
    ranker = train_ranker(examples, application.ranker)
    partial = (directory / RANKER).with_suffix(".partial")
    partial.write_bytes(ranker.onnx)
    partial.replace(directory / RANKER)
    return ranker


def _prepared(inputs: str, source: _Source, ranker: Ranker, now_us: int) -> Prepared:
    rated_count = len(np.unique(source.training.movie))
    return Prepared(
        inputs=inputs,
        user_count=len(source.catalogue.users),
        movie_count=rated_count,
        unrated_movie_count=len(source.catalogue.movies) - rated_count,
        training_rating_count=len(source.training),
        held_out_rating_count=len(source.held_out),
        ranker_row_count=ranker.row_count,
        ranker_liked_share=ranker.liked_share,
        shift_us=source.shift_us,
        last_rating_at_us=now_us - GAP_US,
        reused=False,
    )
