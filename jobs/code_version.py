"""Which version of this code runs, as batch records and `forebay --version` say it."""

from __future__ import annotations

import importlib.metadata

DISTRIBUTION = "forebay-server"


def code_version() -> str:
    """Return the installed version; "checkout" for code that runs without being installed."""
    try:
        return importlib.metadata.version(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return "checkout"
