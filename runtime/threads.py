"""Imported before FAISS and other users of OpenMP: their thread pools read the environment when loaded."""

from __future__ import annotations

from runtime.settings import limit_native_threads

limit_native_threads()
