"""The movie application as its README runs it: prepared, applied, refreshed, indexed, served, evaluated."""

from collections.abc import Iterator
from pathlib import Path

import forebay
import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from examples.movies.evaluate import agreement, evaluate
from examples.movies.offline import read_seen
from examples.movies.online import GatewayRanker
from examples.movies.prepare import Prepared, prepare
from examples.movies.tastes import two_different_users
from runtime.embedded_store import TemporaryStore
from tests.support import served_application
from tests.support.served_application import ServedApplication

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
NOW_US = 1_800_000_000_000_000


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("movies")


@pytest.fixture(scope="module")
def prepared(directory: Path) -> Prepared:
    return prepare(directory, NOW_US)


@pytest.fixture(scope="module")
def server(directory: Path, prepared: Prepared) -> Iterator[ServedApplication]:
    with TemporaryStore() as store:
        served_application.prepare(directory, store.url, directory / "movies.yaml", ("movies",))
        filled = served_application.forebay(
            directory, store.url, "stream", "run", "--once", "--app", "movies"
        )
        assert filled.returncode == 0, filled.stderr
        with served_application.served(directory, store.url, "movies") as gateway:
            yield gateway


def test_last_rating_is_a_minute_before_now_when_prepared(directory: Path, prepared: Prepared) -> None:
    tables = [pq.read_table(directory / f"data/{name}.parquet") for name in ("ratings", "holdout")]

    latest = max(pc.max(table["rated_at"]).cast("int64").as_py() for table in tables)

    assert latest == prepared.last_rating_at_us == NOW_US - 60_000_000
    assert sum(table.num_rows for table in tables) == 100_004
    assert any(str(prepared.shift_us) in line for line in prepared.lines())


def test_no_held_out_rating_is_seen_when_tables_are_made(directory: Path, prepared: Prepared) -> None:
    training = pq.read_table(directory / "data/ratings.parquet").to_pandas()
    held_out = pq.read_table(directory / "data/holdout.parquet").to_pandas()
    movies = pq.read_table(directory / "data/movies.parquet").to_pandas().set_index("movie_id")

    seen = {(user, movie) for user, movies in read_seen(directory).items() for movie in movies.tolist()}
    by_movie = training.groupby("movie_id").rating.agg(["sum", "count"])
    overall = (training.rating.sum() + 5 * 3.5) / (len(training) + 5)

    assert seen == set(zip(training.user_id, training.movie_id, strict=True))
    assert not seen & set(zip(held_out.user_id, held_out.movie_id, strict=True))
    assert set(movies.index) == set(training.movie_id)
    expected = (by_movie["sum"] + 5 * overall) / (by_movie["count"] + 5)
    np.testing.assert_allclose(movies.mean_rating, expected.loc[movies.index], rtol=1e-5)


def test_nothing_is_made_anew_but_the_times_when_prepared_again(directory: Path, prepared: Prepared) -> None:
    model = (directory / "models/ranker/1/model.onnx").stat().st_mtime_ns

    again = prepare(directory, NOW_US + 5_000_000)
    ratings = pq.read_table(directory / "data/holdout.parquet")

    assert again.reused
    assert again.shift_us == prepared.shift_us + 5_000_000
    assert (directory / "models/ranker/1/model.onnx").stat().st_mtime_ns == model
    assert pc.max(ratings["rated_at"]).cast("int64").as_py() == NOW_US - 55_000_000


def test_ranker_beats_popularity_when_served(directory: Path, server: ServedApplication) -> None:
    report = evaluate(GatewayRanker(server.gateway).rank, directory)

    assert report.user_count == 656
    assert report.beats_popularity, report.sentences()


def test_gateway_answers_as_numpy_does_when_asked_for_everyone(
    directory: Path, server: ServedApplication
) -> None:
    users, same, common = agreement(GatewayRanker(server.gateway).rank, directory)

    assert users == 671
    assert same >= 0.99 * users  # float sums in another order may swap near ties
    assert common > 0.999


def test_titles_differ_when_two_users_have_different_tastes(
    directory: Path, server: ServedApplication
) -> None:
    one, other = two_different_users(directory)

    with forebay.Client(server.gateway, timeout_s=5.0) as client:
        lists = []
        for profile in (one, other):
            answer = client.predict("movies_for_user", user_id=profile.user_id, top=10)
            keys = [item.entity["movie_id"] for item in answer]
            lists.append(
                set(client.features(["movie_profile.title"], movie_id=keys).values("movie_profile.title"))
            )

    assert not set(one.genres) & set(other.genres)
    assert len(one.favourites) == len(other.favourites) == 3
    assert len(lists[0]) == len(lists[1]) == 10
    assert not lists[0] & lists[1]


def test_seen_movies_are_refused_when_a_ranking_offers_them(directory: Path, prepared: Prepared) -> None:
    seen = read_seen(directory)

    with pytest.raises(ValueError, match="rated before"):
        evaluate(lambda users: {user: seen[user][:10].tolist() for user in users}, directory)
