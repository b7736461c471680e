"""A real Redis or Valkey server started by us, for whoever has none.

`joining` keeps one persistent server per directory, `keeping` starts it again when it was killed, `temporary`
keeps one per test or demo; `program` finds the binary, `probe` asks a socket who answers there.
"""

from runtime.embedded_store.joining import EmbeddedStore, join_embedded_store, stop_embedded_store
from runtime.embedded_store.keeping import keep_running
from runtime.embedded_store.program import find_server_program, server_programs
from runtime.embedded_store.temporary import TemporaryStore

__all__ = [
    "EmbeddedStore",
    "TemporaryStore",
    "find_server_program",
    "join_embedded_store",
    "keep_running",
    "server_programs",
    "stop_embedded_store",
]
