"""Models that turn tensors into scores, behind the `ModelRunner` protocol.

runner.py is the contract, linear_runner.py its executable specification, onnx_runner.py what serves;
repository.py finds versions on disk, signature.py compares a model with what an application declares.
"""
