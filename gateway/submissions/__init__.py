"""Predictions that are submitted now and made later: accepted by a gateway, made by `forebay worker`, kept in
Redis. `keys.py` says how they lie there, `docs/asynchronous.md` what is promised.

`submission_queue.py` is a gateway's side of the queue and `work_queue.py` a worker's; `endings.py` hears what
ended, `waiting.py` waits for it; `making.py` makes one prediction, `worker.py` takes and ends many.
"""
