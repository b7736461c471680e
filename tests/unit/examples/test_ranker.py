from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from examples.movies.application import MovieApplication, RankerInput, read_application
from examples.movies.prepare.crosses import crosses
from examples.movies.prepare.ranker import run, train_ranker
from examples.movies.prepare.ratings import Catalogue, Ratings
from examples.movies.prepare.training import TrainingSet, training_set

MOVIES = Path(__file__).parents[3] / "examples/movies/movies.yaml"


@pytest.fixture(scope="module")
def application() -> MovieApplication:
    return read_application(MOVIES)


def random_rows(ranker: RankerInput, row_count: int) -> NDArray[np.float32]:
    x = np.random.default_rng(3).normal(size=(row_count, ranker.width)).astype(np.float32)
    x[::7, ranker.column("movie_profile.year").offset] = np.nan
    return x


def test_crosses_equal_numpy_when_run(application: MovieApplication) -> None:
    ranker = application.ranker
    x = random_rows(ranker, 50)

    crossed = run(crosses(ranker).model.SerializeToString(), ranker.tensor, x)

    def part(name: str) -> NDArray[np.float32]:
        column = ranker.column(name)
        return x[:, column.offset : column.offset + column.width]

    genres = part("movie_profile.genres")
    genre_count = np.maximum(genres.sum(axis=1), 1.0)
    expected = [
        (part("movie_profile.embedding") * part("user_taste.long_term")).sum(axis=1),
        (part("movie_profile.embedding") * part("user_taste.short_term")).sum(axis=1),
        (genres * part("user_taste.genre_taste")).sum(axis=1) / genre_count,
        (genres * part("user_taste.recent_genre_taste")).sum(axis=1) / genre_count,
        (part("movie_profile.year") - part("user_taste.newest_year"))[:, 0],
        (part("movie_profile.year") - part("user_taste.recent_year"))[:, 0],
    ]
    np.testing.assert_allclose(crossed[:, -6:], np.stack(expected, axis=1), rtol=1e-4, atol=1e-5)
    scalars = [column.offset for column in ranker.columns if column.width == 1]
    np.testing.assert_array_equal(crossed[:, :-6], x[:, scalars])


def test_crosses_refuse_when_a_column_is_not_listed(application: MovieApplication) -> None:
    ranker = application.ranker
    shortened = replace(ranker, columns=tuple(c for c in ranker.columns if c.name != "user_taste.long_term"))

    with pytest.raises(ValueError, match=r"does not list user_taste\.long_term"):
        crosses(shortened)


def test_ranker_has_one_plain_output_when_trained(application: MovieApplication) -> None:
    ranker = application.ranker
    x = random_rows(ranker, 3_000)
    liked = x[:, ranker.column("retrieve.score").offset] > 1.0

    model = onnx.load_from_string(train_ranker(TrainingSet(x, liked), ranker).onnx)

    assert [value.name for value in model.graph.input] == ["x"]
    (output,) = model.graph.output
    assert output.name == "probability"
    assert output.type.tensor_type.shape.dim[1].dim_value == 1
    probability = run(model.SerializeToString(), "x", x)
    assert probability.shape == (3_000, 1)
    assert probability[liked].min() > probability[~liked].max()


def test_no_feature_of_the_user_sees_a_label_when_labels_change(
    application: MovieApplication, catalogue: Catalogue, ratings: Ratings
) -> None:
    small = replace(application, candidate_count=5)
    newest = ratings.order() == 14  # a label of the latest slice only, and nobody's past
    changed = replace(ratings, rating=np.where(newest, 0.5, ratings.rating).astype("f4"))

    before, after = training_set(ratings, catalogue, small), training_set(changed, catalogue, small)

    own = [c for c in small.ranker.columns if c.name.startswith("user_taste.") or c.name == "retrieve.score"]
    for column in own:
        where = slice(column.offset, column.offset + column.width)
        np.testing.assert_array_equal(before.x[:, where], after.x[:, where])


def test_candidates_were_known_to_somebody_when_the_request_was_made(
    application: MovieApplication, catalogue: Catalogue, ratings: Ratings
) -> None:
    examples = training_set(ratings, catalogue, replace(application, candidate_count=5))

    assert examples.x.shape[1] == application.ranker.width
    assert 0 < len(examples.x) <= 3 * 30 * 5
    popularity = application.ranker.column("movie_profile.popularity").offset
    assert (examples.x[:, popularity] > 0).all()
    assert examples.liked.any()
    assert not examples.liked.all()
