"""The failure that a rule causes where nothing is broken: the command line answers it with exit code 3."""

from __future__ import annotations

from forebay.errors import NotUsable


class Refused(NotUsable):
    """A rule says no: what is live stays live. The message names the rule and the way past it."""
