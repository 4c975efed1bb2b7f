"""Weight, rms, mask and other planes that are carried beside the flux: which image is about which band."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from astroanomaly import BandError, Fact
from astroanomaly_plugins.mosaics.files import Image, describe
from astroanomaly_plugins.mosaics.listing import words_of

__all__ = ["auxiliary_fact", "pair_auxiliary"]

_KINDS = {
    "weight": re.compile(r"weights?|wht|wgt|wt|ivar|invvar"),
    "rms": re.compile(r"rms|sigma|sig|err|errors?|var|variance|unc|uncertainty|noise|stat|std"),
    "mask": re.compile(r"masks?|msk|bpm|dq|flags?|quality|qual"),
    "exposure": re.compile(r"exp|exptime|expmap|expo(sure)?map|exposure|expwt|nexp|num|cov|coverage|con|ctx|rrhr"),
    "psf": re.compile(r"psf"),
}
_VERSION = re.compile(r".*,(\d+)")


def pair_auxiliary(
    tiles: Sequence[Mapping[str, Image]], images: Sequence[Image], wanted: Sequence[str]
) -> list[dict[str, Image]]:
    """Find the images about each band of each tile.

    An image is about a band where it lies in the same file, or in one of the same name but for words such as weight and
    sci; has the same size; and, where there are several, the same band or version (``SCI,2`` and ``WHT,2``).

    Parameters
    ----------
    tiles
        The image of each band of each tile.
    images
        All images of the files.
    wanted
        Words: a kind (``weight``, ``rms``, ``mask``, ``exposure``, ``psf``), which stands for all its words, or the
        word itself as in ``dq``.

    Returns
    -------
    list of dict
        For each tile the images by name, as in ``g:weight``.

    Raises
    ------
    BandError
        If nothing of a word is there at all.
    """
    about = [image for image in images if image.auxiliary and len(image.shape) == 2]
    found: list[dict[str, Image]] = []
    for bands in tiles:
        mine: dict[str, Image] = {}
        for word in wanted:
            fitting = [image for image in about if _is(image.auxiliary, word)]
            for band, image in bands.items():
                one = _partner(image, band, list(bands.values()), fitting)
                if one is not None:
                    mine[f"{band}:{word.lower()}"] = one
        found.append(mine)
    missing = [word for word in wanted if not any(name.endswith(f":{word.lower()}") for one in found for name in one)]
    if missing:
        raise BandError(
            f"--auxiliary {missing[0]}: no such image of the size of a band lies beside one. There are:"
            f"{describe(about) or ' none'}"
        )
    return found


def auxiliary_fact(tiles: Sequence[Mapping[str, Image]], names: Sequence[str]) -> Fact:
    """Say which planes are carried, and in how many tiles they are missing."""
    first = {name: next(one[name].place for one in tiles if name in one) for name in names}
    gaps = {name: sum(name not in one for one in tiles) for name in names}
    words = ", ".join(
        f"{name} from {place}" + (f" (missing in {gaps[name]} of {len(tiles)} tiles)" if gaps[name] else "")
        for name, place in list(first.items())[:8]
    )
    return Fact("auxiliary planes", f"{words}; shown, never ranked"[:1000], {"names": list(names), "missing": gaps})


def _is(word: str, wanted: str) -> bool:
    kind = _KINDS.get(wanted.lower())
    return bool(kind.fullmatch(word)) if kind else word == wanted.lower()


def _partner(image: Image, band: str, bands: Sequence[Image], fitting: Sequence[Image]) -> Image | None:
    """Return the only image about a band; None where there is none, or it cannot be told."""
    same_size = [one for one in fitting if one.shape == image.shape]
    beside = [one for one in same_size if one.path == image.path]
    if not beside:
        key = _bare(image.path.name)
        beside = [one for one in same_size if one.path.parent == image.path.parent and _bare(one.path.name) == key]
    of_file = [one for one in bands if one.path == image.path]
    if len(of_file) == 1 and len(beside) == 1:
        return beside[0]
    tests = (
        lambda one: _bare(one.extension.partition(",")[0]) == _bare(image.extension.partition(",")[0]) != (),
        lambda one: one.header_band and one.header_band == image.header_band,
        lambda one: band.lower() in [word.lower() for word in words_of(one.extension)],
        lambda one: _version(one) is not None and _version(one) == _version(image),
        lambda one: one.plane is not None and one.plane == image.plane,
    )
    for test in tests:
        chosen = [one for one in beside if test(one)]
        if len(chosen) == 1:
            return chosen[0]
    return None


def _bare(name: str) -> tuple[str, ...]:
    """Return the words of a name without those that say what the pixels are."""
    every = "|".join(kind.pattern for kind in _KINDS.values())
    generic = "sci|flux|bgsub|image|img|data|science|drz|drc|int|mosaic|coadd"
    return tuple(word.lower() for word in words_of(name) if not re.fullmatch(f"({every}|{generic})\\d*", word.lower()))


def _version(image: Image) -> str | None:
    found = _VERSION.fullmatch(image.extension)
    return found[1] if found else None
