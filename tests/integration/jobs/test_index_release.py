"""An index is built from the live rows, published when it is good enough, and rolled back by its versions."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
from forebay.errors import Corrupt, NotFound, NotUsable

from ann_index.snapshot import index_directory, load_snapshot
from jobs.refused import Refused

SPACE = ("item_profile", "user_taste")


def directory(shop: Any) -> Any:
    return index_directory(shop.root / "artifacts", "shop", "items")


async def live_version(shop: Any) -> str | None:
    entry = (await shop.registry.live()).indexes.get("items")
    return entry.version if entry else None


async def test_built_index_is_live_and_finds_the_rows_that_are_served(shop: Any) -> None:
    outcome = await shop.refresh(*SPACE)
    assert await shop.build_index() == "1" == await live_version(shop)
    snapshot = load_snapshot(directory(shop) / "1", shop.root / "cache")
    assert snapshot.manifest.batch == outcome.batch
    assert snapshot.manifest.space == "taste"
    assert snapshot.index.count == 300
    vector, _ = await shop.read("item_profile", "embedding", [42])
    everything = np.stack([(await shop.read("item_profile", "embedding", [n]))[0][0] for n in range(300)])
    found = snapshot.index.search(vector.astype(np.float32), 1).positions[0]
    assert snapshot.keys.values(found).tolist() == [int((everything @ vector[0]).argmax())]


async def test_rows_without_a_vector_are_left_out(shop: Any) -> None:
    shop.write_items(embedding=[None if n < 100 else [float(n)] * 8 for n in range(300)])
    await shop.refresh(*SPACE)
    await shop.build_index()
    assert load_snapshot(directory(shop) / "1", shop.root / "cache").manifest.count == 200


async def test_index_is_built_by_a_scan_when_its_view_is_written_in_place(shop: Any) -> None:
    await shop.apply(
        lambda text: text.replace("{source: items, publish: swap}", "{source: items, publish: upsert}")
    )
    await shop.refresh(*SPACE)
    await shop.build_index()
    assert load_snapshot(directory(shop) / "1", shop.root / "cache").manifest.count == 300


async def test_nothing_is_built_when_the_view_was_never_refreshed(shop: Any) -> None:
    with pytest.raises(NotUsable, match="forebay refresh run item_profile"):
        await shop.build_index()


async def test_unknown_index_is_named_with_those_there_are(shop: Any) -> None:
    with pytest.raises(NotFound, match="no index nothing; it has these: items"):
        await shop.indexes.publish("nothing", "1", same_space=False)


async def test_snapshot_is_kept_but_not_published_when_the_bar_is_not_met(shop: Any) -> None:
    await shop.apply(lambda text: text.replace("{recall_at_10: 0.9}", "{p99_ms: 0.000001}"))
    await shop.refresh(*SPACE)
    with pytest.raises(Refused, match="items 1 is built, but not published: p99"):
        await shop.build_index()
    assert await live_version(shop) is None
    assert (directory(shop) / "1").is_dir()
    await shop.indexes.publish("items", "1", same_space=False)
    assert await live_version(shop) == "1"


async def test_version_waits_for_its_publication_when_told_so(shop: Any) -> None:
    await shop.refresh(*SPACE)
    await shop.build_index(publish=False)
    assert await live_version(shop) is None
    [state] = await shop.indexes.versions()
    assert (state.version, state.live, state.problem) == ("1", False, "")


async def test_rollback_goes_to_the_version_before_and_never_forward(shop: Any) -> None:
    await shop.refresh(*SPACE)
    for _ in range(3):
        await shop.build_index()
    await shop.indexes.rollback("items", None, same_space=False)
    assert await live_version(shop) == "2"
    await shop.indexes.rollback("items", None, same_space=False)
    assert await live_version(shop) == "1"
    with pytest.raises(NotUsable, match="no earlier version"):
        await shop.indexes.rollback("items", None, same_space=False)
    await shop.indexes.rollback("items", "3", same_space=False)
    assert await live_version(shop) == "3"


async def test_version_is_never_used_again_after_a_rollback(shop: Any) -> None:
    await shop.refresh(*SPACE)
    for _ in range(2):
        await shop.build_index()
    await shop.indexes.rollback("items", None, same_space=False)
    assert await shop.build_index() == "3"


async def test_index_is_rebuilt_in_the_same_release_when_its_space_is_refreshed(shop: Any) -> None:
    await shop.refresh(*SPACE)
    await shop.build_index()
    outcome = await shop.refresh(*SPACE)
    live = await shop.registry.live()
    assert outcome.indexes == {"items": "2"}
    assert live.number == outcome.release
    assert live.indexes["items"].version == "2"
    assert live.views["item_profile"].batch == outcome.batch


async def test_nothing_is_published_when_the_rebuilt_index_misses_the_bar(shop: Any) -> None:
    await shop.refresh(*SPACE)
    await shop.build_index()
    await shop.apply(lambda text: text.replace("{recall_at_10: 0.9}", "{p99_ms: 0.000001}"))
    before, rows = await shop.registry.live(), await shop.row_count()
    with pytest.raises(Refused, match="not published: p99"):
        await shop.refresh(*SPACE)
    assert await shop.registry.live() == before
    assert await shop.row_count() == rows


async def test_older_version_is_refused_when_its_space_was_refreshed_since(shop: Any) -> None:
    await shop.refresh(*SPACE)
    await shop.build_index()
    await shop.refresh(*SPACE)
    with pytest.raises(Refused, match="--same-space"):
        await shop.indexes.rollback("items", None, same_space=False)
    await shop.indexes.rollback("items", None, same_space=True)
    assert await live_version(shop) == "1"


async def test_index_stays_when_only_the_basis_is_asserted_to_be_the_same(shop: Any) -> None:
    await shop.refresh(*SPACE)
    await shop.build_index()
    outcome = await shop.refresh("item_profile", same_space=True)
    assert outcome.indexes == {}
    assert await live_version(shop) == "1"


async def test_list_says_why_a_version_cannot_be_used(shop: Any) -> None:
    await shop.refresh(*SPACE)
    for _ in range(2):
        await shop.build_index()
    manifest = directory(shop) / "1" / "manifest.json"
    manifest.chmod(0o644)
    manifest.write_text("{}")
    broken, fine = await shop.indexes.versions("items")
    assert "format version" in broken.problem
    assert fine.live
    assert fine.manifest.count == 300
    with pytest.raises(Corrupt, match=r"index items 1: manifest.json"):
        await shop.indexes.publish("items", "1", same_space=False)


async def test_a_version_of_another_metric_is_refused(shop: Any) -> None:
    await shop.refresh(*SPACE)
    for _ in range(2):
        await shop.build_index()
    await shop.apply(lambda text: text.replace("metric: inner_product", "metric: l2"))
    with pytest.raises(Refused, match="version 1 was built for the metric inner_product, and l2 is declared"):
        await shop.indexes.publish("items", "1", same_space=False)


async def test_a_truncated_version_is_listed_so_and_not_published(shop: Any) -> None:
    await shop.refresh(*SPACE)
    await shop.build_index()
    file = directory(shop) / "1" / "index.faiss"
    file.chmod(0o644)
    os.truncate(file, 100)
    [broken] = await shop.indexes.versions("items")
    assert broken.problem.startswith("index.faiss has 100 bytes instead of ")
    assert broken.manifest.count == 300
    with pytest.raises(Corrupt, match=r"index items 1: index.faiss has 100 bytes"):
        await shop.indexes.publish("items", "1", same_space=False)


async def test_the_index_is_named_when_its_vectors_cannot_be_searched(shop: Any) -> None:
    shop.write_items(embedding=[[0.0] * 8 for _ in range(300)])
    await shop.apply(lambda text: text.replace("metric: inner_product", "metric: cosine"))
    await shop.refresh(*SPACE)
    with pytest.raises(NotUsable, match="index items: 300 of 300 vectors are zero"):
        await shop.build_index()


async def test_missing_version_is_named_with_those_there_are(shop: Any) -> None:
    await shop.refresh(*SPACE)
    await shop.build_index()
    with pytest.raises(NotFound, match="no version 9; there are these: 1"):
        await shop.indexes.publish("items", "9", same_space=False)
