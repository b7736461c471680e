"""Windows over a stream: events into tiles (`events.py`, `writer.py`), tiles into features (`reader.py`)."""
