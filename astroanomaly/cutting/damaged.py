"""What Python raises when an archive or a packed file is damaged."""

from __future__ import annotations

import lzma
import struct
import tarfile
import zipfile
import zlib

__all__ = ["BROKEN_ARCHIVE"]

# Beside OSError, which errors of ours derive from too. ValueError and RuntimeError are also of members with a password,
# of an unknown compression, and of thousands of names that announce one another; IndexError is of names that are cut.
BROKEN_ARCHIVE = (
    EOFError,
    IndexError,
    RuntimeError,
    ValueError,
    lzma.LZMAError,
    struct.error,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
)
