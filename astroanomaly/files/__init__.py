"""Files that are written whole or not at all, locks that keep others out, and settings files that are read safely."""

from astroanomaly.files.documents import parse_json, read_json, read_toml, write_json
from astroanomaly.files.leftovers import remove_leftovers, temporary_folder, temporary_path, writer_of
from astroanomaly.files.locks import FileLock, has_record_locks, is_held, locked
from astroanomaly.files.paths import as_path, open_plain, user_cache
from astroanomaly.files.process import ProcessId
from astroanomaly.files.writing import (
    CHECKSUMS,
    atomic_folder,
    atomic_path,
    check_new,
    files_in,
    parse_sums,
    sync_file,
    sync_folder,
)

__all__ = [
    "CHECKSUMS",
    "FileLock",
    "ProcessId",
    "as_path",
    "atomic_folder",
    "atomic_path",
    "check_new",
    "files_in",
    "has_record_locks",
    "is_held",
    "locked",
    "open_plain",
    "parse_json",
    "parse_sums",
    "read_json",
    "read_toml",
    "remove_leftovers",
    "sync_file",
    "sync_folder",
    "temporary_folder",
    "temporary_path",
    "user_cache",
    "write_json",
    "writer_of",
]
