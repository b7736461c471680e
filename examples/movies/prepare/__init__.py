"""Makes the movie application's data and model from MovieLens; also `python -m examples.movies.prepare`."""

from examples.movies.prepare.preparation import Prepared, prepare

__all__ = ["Prepared", "prepare"]
