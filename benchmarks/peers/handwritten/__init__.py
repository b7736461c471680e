"""The service that a capable engineer writes by hand for the synthetic workload: FastAPI, redis.asyncio,
msgpack rows, FAISS, ONNX Runtime, one process. `service.py` answers, `fill.py` loads its rows."""
