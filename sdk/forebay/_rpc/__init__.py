"""google.rpc's messages, without depending on a distribution that carries them.

A process may register `google/rpc/status.proto` only once. So `google.rpc` is used where it is installed
(googleapis-common-protos), and the bundled copy of the same file otherwise.
"""
