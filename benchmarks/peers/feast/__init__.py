"""Feast's Python feature server on the bench's data: how it is set up, filled and served."""
