"""The row codec, as the other parts import it: encoder.py writes rows, view_reader.py reads them into
row_block.py, gather.py moves their values into matrices; layout.py says how the bytes lie.
"""

from feature_store.encoder import EncodedBatch, Fault, RowEncoder
from feature_store.gather import GatherSpec
from feature_store.row_block import FeatureColumn, RowBlock
from feature_store.view_reader import ViewReader
from feature_store.windows.reader import WindowReader

__all__ = [
    "EncodedBatch",
    "Fault",
    "FeatureColumn",
    "GatherSpec",
    "RowBlock",
    "RowEncoder",
    "ViewReader",
    "WindowReader",
]
