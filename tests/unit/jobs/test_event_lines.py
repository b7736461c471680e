"""JSON lines as `forebay stream publish` reads them."""

from __future__ import annotations

from io import BytesIO, TextIOWrapper

import pytest
from forebay.errors import InvalidRequest

from jobs.stream.publishing import read_lines


async def test_place_is_told_when_a_file_is_no_text() -> None:
    file = TextIOWrapper(BytesIO(b"\xff\xfe{}\n"), encoding="utf-8")
    with pytest.raises(InvalidRequest, match="what follows line 0 is no UTF-8 text: invalid start byte"):
        _ = [chunk async for chunk in read_lines(file)]
