"""Nearest neighbours: immutable snapshots of an entity's vectors, searched through `VectorIndex`.

index.py is the contract, exact_index.py its executable specification, faiss_index.py what serves; snapshot.py
builds and loads.
"""
