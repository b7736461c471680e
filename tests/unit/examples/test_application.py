from pathlib import Path

import numpy as np
import pytest
import yaml

from examples.movies.application import read_application
from registry.application_file import load_application

MOVIES = Path(__file__).parents[3] / "examples/movies/movies.yaml"


def test_column_order_is_that_of_the_file_when_read_for_training() -> None:
    declared = yaml.safe_load(MOVIES.read_text())["models"]["ranker"]["inputs"]["x"]

    ranker = read_application(MOVIES).ranker

    assert [column.name for column in ranker.columns] == declared
    assert ranker.column("movie_profile.genres").width == 19
    assert ranker.column("movie_profile.mean_rating").default == 3.5
    ends = [column.offset + column.width for column in ranker.columns]
    assert [column.offset for column in ranker.columns] == [0, *ends[:-1]]
    assert ranker.width == ends[-1]


def test_the_server_reads_the_same_columns_when_it_loads_the_file() -> None:
    served = load_application(MOVIES)

    trained = read_application(MOVIES)

    (tensor,) = served.models["ranker"].inputs.values()
    assert list(tensor.columns) == [column.name for column in trained.ranker.columns]


def test_assemble_fills_defaults_and_keeps_other_gaps_when_values_are_missing() -> None:
    ranker = read_application(MOVIES).ranker
    values = {column.name: np.full((2, column.width), np.nan) for column in ranker.columns}
    values["retrieve.score"] = np.array([0.5, 0.25])

    x = ranker.assemble(values, 2)

    assert x.dtype == np.float32
    assert x[:, ranker.column("retrieve.score").offset].tolist() == [0.5, 0.25]
    assert x[:, ranker.column("movie_profile.mean_rating").offset].tolist() == [3.5, 3.5]
    assert np.isnan(x[:, ranker.column("movie_profile.year").offset]).all()


def test_assemble_refuses_when_a_column_is_missing_or_too_wide() -> None:
    ranker = read_application(MOVIES).ranker
    values = {column.name: np.zeros((1, column.width)) for column in ranker.columns}

    with pytest.raises(ValueError, match=r"retrieve\.score"):
        ranker.assemble({name: value for name, value in values.items() if name != "retrieve.score"}, 1)
    with pytest.raises(ValueError, match="is 20 wide"):
        ranker.assemble({**values, "movie_profile.genres": np.zeros((1, 20))}, 1)


def test_reading_says_what_is_missing_when_the_file_has_no_ranker(tmp_path: Path) -> None:
    document = yaml.safe_load(MOVIES.read_text())
    del document["models"]["ranker"]
    (tmp_path / "movies.yaml").write_text(yaml.safe_dump(document))

    with pytest.raises(ValueError, match="ranker"):
        read_application(tmp_path / "movies.yaml")
