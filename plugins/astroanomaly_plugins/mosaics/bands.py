"""Which band an image shows, by one rule for all images of a request.

1. ``--bands NAME=WHAT`` decides, where given. ``WHAT`` is a file, ``FILE[EXTENSION]``, ``FILE[EXTENSION][PLANE]`` of a
   cube, or a pattern (``*`` and ``?``) for the path, the file name, the extension or the band in the header; without
   FILE the extension and the plane of all files. Images that match no entry are left out.
2. The header: ``BANDS``, ``BAND0`` ... of a cube for its planes; ``BAND``, ``FILTER``, ``FILTNAM``, ``FILTER1`` ... of
   the extension, else of the primary header; empty and clear filters are skipped; of several words one that is a known
   band. A file's IRAC channel counts as well.
3. If headers clash (two images of one tile say the same) or are silent: the extension names, for tiles whose images
   are the extensions of one file, without words such as SCI, FLUX, BGSUB, if all are known bands or ``--ext`` chose.
4. Else the file names: the one word in which the names of a tile's files differ, if they are known bands, or the one
   that is a known band; then the same of the folders above.
5. Tiles of one image each that nothing names are the band ``image``.

Where ``--bands`` gives ready-made stamps of one grid one name, each is an object.

A rule is taken only if it names all images of all tiles, each band once per tile; so the three SDSS files whose
headers all say ``g`` are named by their file names. Of stamps, the rule is taken that names most of them, if that is
half of them; the others are failures: a file that is there twice is no reason to refuse a folder.
"""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from astroanomaly import BandError, wavelength_nm
from astroanomaly.cutting import same_grid
from astroanomaly_plugins.mosaics.files import Image, clean, describe
from astroanomaly_plugins.mosaics.listing import words_of

__all__ = ["BandRule", "name_bands", "sort_bands"]

_LISTED = 4  # images in a reason
_PACKED = (".gz", ".bz2", ".xz", ".fz")
_log = logging.getLogger(__name__)
Named = list[dict[str, Image]]
_RULES = ("header", "extension name", "file name", "no rule: one image a tile")


class BandRule:
    """The entries of ``--bands``, checked.

    Parameters
    ----------
    entries
        ``NAME=WHAT`` texts.

    Raises
    ------
    BandError
        For an entry without ``=`` or a band named twice.
    """

    def __init__(self, entries: Sequence[str]) -> None:
        self.patterns: dict[str, str] = {}
        for entry in entries:
            name, equals, pattern = entry.partition("=")
            name = name.strip()
            if not equals or not name or not pattern.strip():
                raise BandError(f"--bands {entry!r}: expected NAME=FILE, NAME=FILE[EXTENSION] or NAME=PATTERN")
            if name != clean(name):
                raise BandError(f"--bands {entry!r}: a band name has no blanks, commas, brackets or slashes")
            if name in self.patterns:
                raise BandError(f"band {name!r} is named twice: {self.patterns[name]!r} and {pattern.strip()!r}")
            self.patterns[name] = pattern.strip()

    def __bool__(self) -> bool:
        return bool(self.patterns)

    @property
    def files(self) -> list[str]:
        """Files that entries name outright."""
        split = [_split(pattern)[0] for pattern in self.patterns.values()]
        return list(dict.fromkeys(text for text in split if text and Path(text).is_file()))

    @property
    def planes(self) -> bool:
        """Whether an entry names planes of cubes."""
        return any(_split(pattern)[2] is not None for pattern in self.patterns.values())

    def select(self, images: Sequence[Image]) -> list[tuple[Image, str]]:
        """Return the images that an entry matches, with their bands.

        Raises
        ------
        BandError
            If an entry matches nothing, or an image is matched by two.
        """
        chosen = []
        used = set()
        for image in images:
            names = [name for name, pattern in self.patterns.items() if _matches(image, pattern)]
            if len(names) > 1:
                raise BandError(f"{image.place} is named twice by --bands: as {' and as '.join(names)}")
            if names:
                used.add(names[0])
                chosen.append((image, names[0]))
        for name, pattern in self.patterns.items():
            if name not in used:
                raise BandError(f"--bands {name}={pattern} matches no image. There are:{describe(images)}")
        return chosen


def _split(pattern: str) -> tuple[str, str, int | None]:
    """Split ``FILE[EXTENSION][PLANE]``; what is not there is empty, or None."""
    match = re.fullmatch(r"(.*?)\[([^\[\]]+)\](?:\[(\d+)\])?", pattern)
    if match and (not match[1] or re.search(r"[*?]", match[1]) or Path(match[1]).is_file()):
        return match[1], match[2], None if match[3] is None else int(match[3])
    return pattern, "", None


def _matches(image: Image, pattern: str) -> bool:
    text, extension, plane = _split(pattern)
    if extension and not image.is_extension(extension):
        return False
    if (plane is not None and plane != image.plane) or (plane is None and image.nameless):
        return False
    usable = len(image.shape) == 2 and (bool(extension) or not image.auxiliary)
    if not text:
        return usable
    if Path(text).is_file():  # a file named outright may be called "weight" and still be meant
        return len(image.shape) == 2 and image.path.samefile(text) and (bool(extension) or image.usable_in_named_file)
    names = (str(image.path), image.path.name, image.relative, image.header_band, image.extension_band)
    return usable and (any(fnmatchcase(name, text) for name in names if name) or image.is_extension(text))


def name_bands(
    groups: Sequence[Sequence[Image]], given: dict[Image, str], *, stamps: bool = False, any_extension: bool = False
) -> tuple[Named, str, dict[str, str]]:
    """Name the images of each tile; see the module for the rule.

    Images of one sky area that all show one band on different grids become tiles of their own.

    Parameters
    ----------
    groups
        Images that show one sky area, per area.
    given
        Bands that ``--bands`` decided; empty without.
    stamps
        Whether each group is an object: those that cannot be named are failures, as long as half of them can.
    any_extension
        Whether the name of an extension is a band, known or not, since somebody chose it.

    Returns
    -------
    named : list of dict
        Image of each band, per tile.
    named_by : str
        What named them.
    failed : dict
        Why the images of a stamp cannot be told apart, by the path of each of its files.

    Raises
    ------
    BandError
        If two images of a tile cannot be told apart.
    """
    if given:
        by_hand = [_try_one(group, lambda group: [given[image] for image in group], alone=stamps) for group in groups]
        named = [tile for tiles in by_hand for tile in tiles or ()]
        if None in by_hand and not (stamps and 2 * sum(tiles is not None for tiles in by_hand) >= len(groups)):
            raise BandError(f"--bands gives two images of one area the same name:{_clash(groups, given)}")
        if stamps:
            _refuse_single_bands(named)
        return named, "--bands", _failures(groups, by_hand)
    rules: tuple[Callable[[Sequence[Image]], list[str]], ...] = (
        lambda group: [image.header_band for image in group],
        lambda group: _by_extension(group, any_extension),
        _by_file_name,
        lambda group: ["image"] if len(group) == 1 else [],
    )
    tried: list[list[Named | None]] = []
    for number, rule in enumerate(rules):
        tried.append([_try_one(group, rule) for group in groups])
        if None not in tried[-1]:
            if number == 0:
                _warn_of_doubt(groups)
            elif number < len(rules) - 1 and any(image.header_band for group in groups for image in group):
                _log.info("the filters in the headers clash: bands are named by %s", _RULES[number])
            return [tile for tiles in tried[-1] for tile in tiles or ()], _RULES[number], {}
    counts = [sum(tiles is not None for tiles in one) for one in tried]
    most = counts.index(max(counts))
    if stamps and len(groups) > 1 and 2 * counts[most] >= len(groups):
        named = [tile for tiles in tried[most] for tile in tiles or ()]
        return named, _RULES[most], _failures(groups, tried[most])
    clashing = (group for group in groups if len({image.header_band for image in group}) < len(group))
    nameless = (group for group in groups if not all(image.header_band for image in group))
    worst = next(clashing, None) or next(nameless, None) or groups[0]
    raise BandError(
        "the bands of these images cannot be told by header, extension or file name:"
        f"{describe(worst)}\n{_advice(worst, several=len(groups) > 1, stamps=stamps)}"
    )


def _refuse_single_bands(objects: Named) -> None:
    """Refuse stamps of several bands of which nothing tells which show one object."""
    bands = {band for images in objects for band in images}
    if len(bands) < 2 or any(
        len(images) > 1 or image.grid is not None for images in objects for image in images.values()
    ):
        return
    first = [image for images in objects[:4] for image in images.values()]
    raise BandError(
        f"which of these images show one object in the bands {', '.join(sorted(bands))} is not known, since they have "
        f"no WCS and their paths differ in more than the name of a known band:{describe(first)}\nCall them as in "
        "a_g.fits and a_r.fits, or put the bands of an object into one file"
    )


def _advice(images: Sequence[Image], *, several: bool, stamps: bool) -> str:
    """Say how to name the bands of images that lie on one another, as others do (several) or not."""
    if several and len({image.path for image in images}) == len(images):  # a pattern is for the files of all tiles
        each = (
            "If each is another band, say what the names of its files share, as in --bands 'g=*_g.fits' "
            "--bands 'r=*_r.fits'"
        )
    else:
        example = " ".join(f"--bands NAME{n}={image.place}" for n, image in enumerate(images[:3], 1))
        each = (
            f"If each is another band, name them, as in {example}, or choose extensions with --ext; what is named by "
            "none is left out"
        )
    if len({image.path for image in images}) < len(images) or not (stamps or _all_apart(images)):
        return each
    return f"If all are stamps in one band, give it one name: {_one_band(images)}. {each}"


def _one_band(images: Sequence[Image]) -> str:
    """Spell the option that gives images one band."""
    suffixes = {
        "".join(image.path.suffixes[-2:]) if image.path.suffix in _PACKED else image.path.suffix for image in images
    }
    pattern = f"*{suffixes.pop()}" if len(suffixes) == 1 else "*"
    band = next((image.header_band for image in images if image.header_band), "R")
    return f"--bands '{band}={pattern}'"


def _try_one(
    group: Sequence[Image], rule: Callable[[Sequence[Image]], list[str]], *, alone: bool = False
) -> Named | None:
    """Name the images of one area by a rule; None where it does not tell them apart.

    Images that have one name are tiles of their own if they have other grids, or whatever their grids (alone).
    """
    names = rule(group)
    if len(names) != len(group) or not all(names):
        return None
    if len(set(names)) == len(names):
        return [dict(zip(names, group, strict=True))]
    if len(set(names)) == 1 and (alone or _all_apart(group)):
        return [{names[0]: image} for image in group]
    return None


def _failures(groups: Sequence[Sequence[Image]], named: Sequence[Named | None]) -> dict[str, str]:
    """Say of each file of the groups without names why it is not cut."""
    failed = {}
    for group in (group for group, tiles in zip(groups, named, strict=True) if tiles is None):
        if len(group) == 1:
            failed[group[0].relative] = (
                f"nothing says which band {group[0].relative}{group[0].spot} shows, as it is known of others: name it "
                "with --bands"
            )
            continue
        spots = [f"{image.relative}{image.spot}" for image in group]
        listed = ", ".join(spots[:_LISTED]) + (f" and {len(spots) - _LISTED} more" if len(spots) > _LISTED else "")
        for image in group:
            failed[image.relative] = (
                f"its bands cannot be told: {listed} show one area, and neither headers nor names say which band each "
                "is. Leave out what is there twice, or name them with --bands"
            )
    return failed


def _all_apart(group: Sequence[Image]) -> bool:
    """Whether no two images have the same grid: exposures of one area, not bands that forgot to say so."""
    pairs = itertools.combinations(group, 2)
    return all(a.grid is not None and b.grid is not None and not same_grid(a.grid, b.grid) for a, b in pairs)


def _by_extension(group: Sequence[Image], any_name: bool) -> list[str]:
    if len({image.path for image in group}) > 1:
        return []
    names = [image.extension_band for image in group]
    if len(group) == 1 and group[0].header_band:
        names = [group[0].header_band]
    return names if any_name or all(wavelength_nm(name) is not None for name in names) else []


def _by_file_name(group: Sequence[Image]) -> list[str]:
    """Name images by the words of their file names, else by those of the folders above; by known bands only."""
    for name in (lambda image: image.path.name, lambda image: image.relative):
        words = [words_of(name(image)) for image in group]
        if len(group) > 1 and len({len(part) for part in words}) == 1:
            columns = [column for column in zip(*words, strict=True) if len(set(column)) == len(column)]
            known = [column for column in columns if all(wavelength_nm(word) is not None for word in column)]
            if len(known) == 1:
                return list(known[0])
        known_words = [[word for word in part if wavelength_nm(word) is not None] for part in words]
        if all(len(part) == 1 for part in known_words):
            return [part[0] for part in known_words]
    return []


def _warn_of_doubt(groups: Sequence[Sequence[Image]]) -> None:
    """Say so where the file name of a lone image speaks for another band than its header."""
    for group in groups:
        if len(group) == 1:
            named = _by_file_name(group)
            header = group[0].header_band
            if named and named[0] != header and header in {"u", "g", "r", "i", "z", "y"} and len(named[0]) == 1:
                _log.warning(
                    "%s: the header says band %s, the file name %s; the header is believed. Else: --bands %s=%s",
                    group[0].path,
                    header,
                    named[0],
                    named[0],
                    group[0].path,
                )


def _clash(groups: Sequence[Sequence[Image]], given: dict[Image, str]) -> str:
    for group in groups:
        names = [given[image] for image in group]
        if len(set(names)) < len(names):
            return "".join(f"\n  {name}: {image.place}" for name, image in zip(names, group, strict=True))
    return ""


def sort_bands(names: Sequence[str]) -> tuple[str, ...]:
    """Order bands by wavelength where all are known, else as they came."""
    unique = list(dict.fromkeys(names))
    waves = {name: wavelength_nm(name) for name in unique}
    if any(wave is None for wave in waves.values()):
        return tuple(unique)
    return tuple(sorted(unique, key=lambda name: waves[name] or 0.0))
