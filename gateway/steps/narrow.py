"""What `select.where` leaves of the candidates. It is done before the model runs, which then scores only rows
that may be answered; `select.py` cuts what is left to the top."""

from __future__ import annotations

import numpy as np

from gateway.batch import Batch


def narrow(batch: Batch) -> None:
    """Keep the candidates that meet every condition of the pipeline.

    A condition sees what the model sees: defaults where they stand in, stale values where their view's rule
    is to use them. Cost: a few array operations per condition.
    """
    candidates, conditions = batch.candidates, batch.pipeline.select.where
    if candidates is None or batch.ended:
        return
    kept = np.ones(batch.row_count, np.bool_)
    for condition in conditions:
        block, rows = batch.rows_of(condition.view)
        holds = condition.holds(block.column(condition.feature))
        kept &= holds if rows is None else holds[rows]
    if not kept.all():
        candidates.keep(np.flatnonzero(kept))
