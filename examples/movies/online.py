"""The recommendations as a product service gets them: the SDK against a running gateway."""

from collections.abc import Sequence

import forebay
from forebay.errors import DeadlineExceeded

from examples.movies.application import PIPELINE

ATTEMPTS = 5


class GatewayRanker:
    """Asks one gateway for each user's recommendations, one request per user.

    `late_count` says how many requests missed the pipeline's budget, or were answered without something that
    was slow, and were asked again: what is measured is the ranking, not the machine.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self.late_count = 0

    def rank(self, users: Sequence[int]) -> dict[int, list[int]]:
        """The movie keys per user, best first. Raises: forebay.Error as the gateway does."""
        with forebay.Client(self._address) as client:
            return {user: self._rank_one(client, user) for user in users}

    def _rank_one(self, client: forebay.Client, user: int) -> list[int]:
        for _ in range(ATTEMPTS - 1):
            try:
                answer = client.predict(PIPELINE, user_id=user)
            except DeadlineExceeded:
                self.late_count += 1
                continue
            if not answer.degradations:
                return _movies(answer)
            self.late_count += 1
        return _movies(client.predict(PIPELINE, user_id=user))


def _movies(answer: forebay.Answer) -> list[int]:
    return [int(item.entity["movie_id"]) for item in answer]
