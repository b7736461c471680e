"""What one read of features may ask for."""

import numpy as np
import pytest
from forebay.deadline import NEVER
from forebay.errors import InvalidRequest

from gateway.features import MAX_VALUES, FeatureReads
from tests.support.compiled_application import CompiledApplication


async def test_a_read_is_refused_when_rows_times_features_are_too_many(
    application: CompiledApplication,
) -> None:
    reads = FeatureReads(application.store, application.clock)
    references = ["now.clicks"] * 1_000
    readers = reads.views(application.release, references)
    user_ids = np.arange(MAX_VALUES // 1_000 + 1)
    with pytest.raises(InvalidRequest, match=f"more than the {MAX_VALUES}") as caught:
        await reads.read(readers, references, {"user_id": user_ids}, NEVER)
    assert caught.value.field == "keys"
    columns = await reads.read(readers, references, {"user_id": user_ids[:-1]}, NEVER)
    assert len(columns) == 1_000
