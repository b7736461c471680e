"""The model server's part of the settings: how ONNX models are loaded and run."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class OnnxSettings(BaseModel):
    """How ONNX Runtime loads and runs a model on the CPU."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_model_bytes: int = Field(
        default=1 << 30,
        ge=1,
        le=2**31 - 1,
        description="Largest model file that is loaded, in bytes. Loading takes about three times that.",
    )
    threads_per_run: int = Field(
        default=1,
        ge=1,
        le=256,
        description="Threads inside one run. With one there is no pool: runs go on in parallel instead. More "
        "only where a single run takes longer than its budget; ONNX Runtime ignores a container's CPU limit.",
    )
    warm_rows: tuple[int, ...] = Field(
        default=(1, 11, 100),
        description="Batch sizes that a model is run with before it serves, so that no request pays for the "
        "first allocation.",
    )
