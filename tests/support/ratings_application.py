"""Real ratings (MovieLens) as histories: what was known of a user and a movie after each rating, a stream of
them, and an application over it. For tests that compare what was known at an instant."""

from __future__ import annotations

from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from examples.movies.prepare.ratings import load_movielens
from examples.movies.prepare.tables import write_ratings

NOW_US = 1_800_000_000_000_000
"""When all of it has happened."""

APPLICATION = """
app: liking
entities:
  user:  {key: {user_id: int64}}
  movie: {key: {movie_id: int64}}
sources:
  ratings: {parquet: ratings.parquet, event_time: rated_at}
  user_history:
    sql: >-
      select user_id, rated_at, avg(rating) over earlier as mean_rating,
        case when count(*) over earlier > 1 then stddev_pop(rating) over earlier end as spread,
        count(*) over earlier as rating_count, rating >= 4 as liked, movie_id::varchar as last_movie,
        [min(rating) over earlier, max(rating) over earlier] as extremes
      from ratings window earlier as (partition by user_id order by rated_at)
    event_time: rated_at
  movie_history:
    sql: >-
      select movie_id, rated_at, avg(rating) over earlier as mean_rating,
        count(*) over earlier as rating_count
      from ratings window earlier as (partition by movie_id order by rated_at)
    event_time: rated_at
views:
  user_ratings:
    entity: user
    batch: {source: user_history}
    max_age: 30d
    features:
      mean_rating: {dtype: float32, default: 3.5}
      spread: float16
      rating_count: int32
      liked: {dtype: bool, default: false}
      last_movie: string
      extremes: float32[2]
  movie_ratings:
    entity: movie
    batch: {source: movie_history}
    features: {mean_rating: {dtype: float32, default: 3.5}, rating_count: {dtype: int32, default: 0}}
"""


def write_application(directory: Path, text: str = APPLICATION, *, users: int = 671) -> Path:
    """Write the file and its data, of the first `users` users, into `directory`; return the file's path.

    The last rating is in 2016.
    """
    catalogue, ratings, _ = load_movielens()
    ratings = ratings.where(ratings.user < users)
    write_ratings(directory / "all_ratings.parquet", ratings, catalogue, 0)
    write_ratings_until(directory, NOW_US)
    path = directory / "app.yaml"
    path.write_text(text)
    return path


def write_ratings_until(directory: Path, at_us: int) -> None:
    """Make the ratings known until an instant, and with it, the application's source."""
    table = pq.read_table(directory / "all_ratings.parquet")
    known = pc.less_equal(table["rated_at"].cast("int64"), at_us)
    pq.write_table(table.filter(known), directory / "ratings.parquet")
