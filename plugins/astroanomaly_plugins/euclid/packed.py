"""Take the image out of a tar or zip file that an archive has sent: of bounded size, and no name in it is a path."""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path
from typing import IO

from astroanomaly import FetchError, ReadLimits
from astroanomaly.cutting import BROKEN_ARCHIVE

__all__ = ["unpack"]


def unpack(output_file_full_path: str, output_dir: str, files: list[str]) -> None:
    """Put the first FITS file of a tar or zip file in its place; note where an image lies now, if there is one.

    Parameters
    ----------
    output_file_full_path
        What came; the image takes its place.
    output_dir
        Not used: it is where astroquery, whose parameters these are, would unpack the whole.
    files
        The path is added, where it leads to an image now, or to what is neither tar nor zip file.

    Raises
    ------
    FetchError
        If it is damaged, or grows to more than `astroanomaly.ReadLimits` allow.
    """
    path = Path(output_file_full_path)
    most_bytes = ReadLimits.current().expanded_bytes(path.stat().st_size)
    try:
        if tarfile.is_tarfile(path):
            with tarfile.open(path) as tar:
                came = 0
                while (member := tar.next()) is not None:
                    came += member.size
                    if came > most_bytes:
                        raise _grows(most_bytes)
                    if member.isfile() and ".fits" in member.name and (content := tar.extractfile(member)) is not None:
                        _replace(path, content, most_bytes)
                        break
                else:
                    return
        elif zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                name = next((name for name in archive.namelist() if ".fits" in name), None)
                if name is None:
                    return
                with archive.open(name) as content:
                    _replace(path, content, most_bytes)
    except BROKEN_ARCHIVE as error:
        raise FetchError("the archive that came is cut short or damaged", retryable=True) from error
    files.append(str(path))


def _replace(path: Path, content: IO[bytes], most_bytes: int) -> None:
    """Put the content of one of its members in the place of an archive."""
    target = path.with_name("member")
    with target.open("wb") as file:
        while part := content.read(2**20):
            file.write(part)
            if file.tell() > most_bytes:
                raise _grows(most_bytes)
    target.replace(path)


def _grows(most_bytes: int) -> FetchError:
    reason = f"the archive that came grows to more than {most_bytes / 1e9:.1f} GB when it is unpacked"
    return FetchError(reason, reason=reason)
