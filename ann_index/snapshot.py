"""What other packages use of snapshots. Built in snapshot_build.py, written in snapshot_write.py, loaded in
snapshot_load.py, described by manifest.py.
"""

from ann_index.manifest import Manifest, check_files, read_manifest
from ann_index.snapshot_build import SnapshotSpec, build_snapshot, index_directory, list_versions
from ann_index.snapshot_load import Snapshot, load_snapshot

__all__ = [
    "Manifest",
    "Snapshot",
    "SnapshotSpec",
    "build_snapshot",
    "check_files",
    "index_directory",
    "list_versions",
    "load_snapshot",
    "read_manifest",
]
