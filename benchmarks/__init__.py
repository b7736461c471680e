"""Figures of one machine, each a ratio to a floor measured in the same run. `rows.py` lists them and
`__main__.py` runs them; the method is in docs/benchmarks.md."""
