"""How many examples of a property are tried: a part of them by `make test`, all by `make test-all`."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

THOROUGH = "thorough"
SHARE = 4
"""One in so many is tried where nobody asked for all."""

settings.register_profile(THOROUGH, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def examples(count: int) -> int:
    """Return how many of `count` examples to try: all of them under `--hypothesis-profile=thorough`."""
    return count if settings.get_current_profile_name() == THOROUGH else max(10, count // SHARE)
