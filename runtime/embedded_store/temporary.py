"""A server for a test, a demo or a benchmark: without persistence, and never left behind."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from runtime.embedded_store.probe import Answer, wait_for_answer
from runtime.embedded_store.program import find_server_program

_KEEPER = """
directory=$1; shift
"$@" </dev/null &
server=$!
read -r _
kill -9 "$server"
wait "$server"
rm -rf "$directory"
"""
"""A shell holds the server and reads from a pipe of ours: however this process ends, the kernel closes the
pipe, and the shell ends the server and removes its directory."""


class TemporaryStore:
    """A context in which a server of its own runs; `options` add to its command line (no credentials)."""

    def __init__(self, program: str | None = None, options: Sequence[str] = ()) -> None:
        self._program = program
        self._options = options
        self._directory = Path()
        self._keeper: subprocess.Popen[bytes] | None = None
        self._answer: Answer | None = None

    def __enter__(self) -> TemporaryStore:
        """Return with the server answering. Raises: Unavailable."""
        program = self._program or find_server_program()
        self._directory = Path(tempfile.mkdtemp(prefix="forebay-"))
        server = [program, "--port", "0", "--unixsocket", str(self.socket), "--dir", str(self._directory)]
        server += ["--logfile", str(self._directory / "store.log"), "--save", "", "--appendonly", "no"]
        keeper = ["/bin/sh", "-c", _KEEPER, "keeper", str(self._directory), *server, *self._options]
        null = subprocess.DEVNULL
        self._keeper = subprocess.Popen(
            keeper, stdin=subprocess.PIPE, stdout=null, stderr=null, start_new_session=True
        )
        try:
            self._answer = wait_for_answer(self.socket, self._directory / "store.log", lambda: True)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    @property
    def socket(self) -> Path:
        """The path of the unix socket."""
        return self._directory / "store.sock"

    @property
    def url(self) -> str:
        """The URL of the server, without credentials."""
        return f"unix://{self.socket}"

    @property
    def pid(self) -> int:
        """The server's process."""
        assert self._answer is not None, "the store isn't running"
        return self._answer.pid

    @property
    def version(self) -> str:
        """The server's kind and version ("valkey 9.1.2")."""
        assert self._answer is not None, "the store isn't running"
        return self._answer.version

    def _end(self) -> None:
        if self._keeper is not None:
            self._keeper.communicate()
            self._keeper = None
        self._answer = None
        shutil.rmtree(self._directory, ignore_errors=True)
