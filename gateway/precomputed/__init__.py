"""Answers made before anybody asks for them: `beforehand` makes them, `keys` and `kept_bytes` say where and
how they lie in the store, `plan` which of them a release may give; `precomputed` gives them."""
