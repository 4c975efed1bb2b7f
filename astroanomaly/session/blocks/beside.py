"""All blocks of a new session, whatever they were given as."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astroanomaly.errors import StorageError
from astroanomaly.learn.features.block_options import BlockOptions
from astroanomaly.records import Progress
from astroanomaly.session.blocks.given import GivenBlock, read_blocks
from astroanomaly.session.blocks.light_curves import read_light_curve_blocks
from astroanomaly.session.blocks.photometry import photometry_block
from astroanomaly.session.blocks.spectra import read_spectrum_blocks

if TYPE_CHECKING:
    from astroanomaly.cache import Cache

__all__ = ["read_beside"]

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def read_beside(
    blocks: Mapping[str, Any],
    spectra: Mapping[str, Any],
    light_curves: Mapping[str, Any],
    *,
    photometry: bool,
    cache: Cache,
    config: BlockOptions,
    classes: Sequence[str],
    session: Path,
    progress: Callable[[Progress], None] | None,
) -> list[GivenBlock]:
    """Read the blocks of a new session: columns, tables, spectra, light curves and photometry.

    Parameters
    ----------
    blocks, spectra, light_curves
        As `Session.create` takes them.
    photometry
        Whether the cutouts are measured.
    cache
        The objects.
    config
        The settings of blocks.
    classes
        Label classes, of which no column may tell.
    session
        Its folder, which need not be there: what is large is put beside it meanwhile.
    progress
        Called now and then while light curves are described and cutouts are measured.

    Raises
    ------
    ConfigError, CatalogError, UnreadableError, LabelError
        As `read_blocks`, `read_spectrum_blocks` and `read_light_curve_blocks`.
    StorageError
        If the disk is full.
    """
    room = next(place for place in session.absolute().parents if place.is_dir())
    found: list[GivenBlock] = list(read_blocks(blocks, cache, config, classes))
    try:
        found += read_spectrum_blocks(spectra, cache, config, [one.block.name for one in found], room)
        names = [one.block.name for one in found]
        found += read_light_curve_blocks(light_curves, cache, config, names, room, progress)
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise StorageError(
            f"spectra and light curves cannot be put in {room} meanwhile, for the session {session}: {error.strerror}"
        ) from error
    if photometry:
        found.append(photometry_block(cache, config, [one.block.name for one in found], progress))
    return found
