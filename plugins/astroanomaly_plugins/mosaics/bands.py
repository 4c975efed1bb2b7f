"""Which band an image shows, by one rule for all images of a request.

1. ``--bands NAME=WHAT`` decides, where given. ``WHAT`` is a file, ``FILE[EXTENSION]``, or a pattern (``*`` and ``?``)
   for the path, the file name, the extension or the band in the header. Images that match no entry are left out.
2. The header: ``BAND``, ``FILTER``, ``FILTNAM``, ``FILTER1`` ... of the extension, else of the primary header; empty
   and clear filters are skipped; of several words one that is a known band. A file's IRAC channel counts as well.
3. If headers clash (two images of one tile say the same) or are silent: the extension names, for tiles whose images
   are the extensions of one file, without words such as SCI, FLUX, BGSUB.
4. Else the file names: the one word in which the names of a tile's files differ, or the one that is a known band; else
   the one word that tells the files of each tile apart in the same way for all tiles.
5. Tiles of one image each that nothing names are the band ``image``.

Ready-made stamps that lie on one grid, all of them, are bands of one object only if they are few, or their bands are
known; else nobody can tell bands from objects. Where ``--bands`` gives stamps one name, each is an object.

A rule is taken only if it names all images of all tiles, each band once per tile; so the three SDSS files whose
headers all say ``g`` are named by their file names.
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

__all__ = ["BandRule", "name_bands", "sort_bands"]

_MOST_UNKNOWN = 10  # files on one grid that are taken for bands of one object, though no word of theirs is known
_PACKED = (".gz", ".bz2", ".fz")
_log = logging.getLogger(__name__)
Named = list[dict[str, Image]]
_RULES = ("header", "extension name", "file name", "file name", "no rule: one image a tile")


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


def _split(pattern: str) -> tuple[str, str]:
    match = re.fullmatch(r"(.*)\[([^\]]+)\]", pattern)
    if match and (not match.group(1) or Path(match.group(1)).is_file()):
        return match.group(1), match.group(2)
    return pattern, ""


def _matches(image: Image, pattern: str) -> bool:
    text, extension = _split(pattern)
    if extension and not image.is_extension(extension):
        return False
    usable = len(image.shape) == 2 and (bool(extension) or not image.auxiliary)
    if not text:
        return usable
    if Path(text).is_file():  # a file named outright may be called "weight" and still be meant
        return len(image.shape) == 2 and image.path.samefile(text) and (bool(extension) or image.usable_in_named_file)
    names = (str(image.path), image.path.name, image.relative, image.header_band, image.extension_band)
    return usable and (any(fnmatchcase(name, text) for name in names if name) or image.is_extension(text))


def name_bands(
    groups: Sequence[Sequence[Image]], given: dict[Image, str], *, stamps: bool = False
) -> tuple[Named, str]:
    """Name the images of each tile; see the module for the rule.

    Images of one sky area that all show one band on different grids become tiles of their own.

    Parameters
    ----------
    groups
        Images that show one sky area, per area.
    given
        Bands that ``--bands`` decided; empty without.
    stamps
        Whether whole files are cutouts.

    Returns
    -------
    named : list of dict
        Image of each band, per tile.
    named_by : str
        What named them.

    Raises
    ------
    BandError
        If two images of a tile cannot be told apart.
    """
    if given:
        named = _try(groups, lambda group: [given[image] for image in group], alone=stamps)
        if named is None:
            raise BandError(f"--bands gives two images of one area the same name:{_clash(groups, given)}")
        return named, "--bands"
    rules: tuple[Callable[[Sequence[Image]], list[str]], ...] = (
        lambda group: [image.header_band for image in group],
        _by_extension,
        _by_file_name,
        _by_common_word(groups),
        lambda group: ["image"] if len(group) == 1 else [],
    )
    for number, rule in enumerate(rules):
        named = _try(groups, rule)
        if named is not None:
            if stamps and _RULES[number] == "file name":
                _doubt_one_object(named)
            if number == 0:
                _warn_of_doubt(groups)
            elif number < len(rules) - 1 and any(image.header_band for group in groups for image in group):
                _log.info("the filters in the headers clash: bands are named by %s", _RULES[number])
            return named, _RULES[number]
    clashing = (group for group in groups if len({image.header_band for image in group}) < len(group))
    nameless = (group for group in groups if not all(image.header_band for image in group))
    worst = next(clashing, None) or next(nameless, None) or groups[0]
    raise BandError(
        "the bands of these images cannot be told by header, extension or file name:"
        f"{describe(worst)}\n{_advice(worst, several=len(groups) > 1, stamps=stamps)}"
    )


def _doubt_one_object(named: Named) -> None:
    """Refuse, or say aloud, that stamps which all lie on one grid are bands of one object, by words that are no bands.

    Raises
    ------
    BandError
        If they are many.
    """
    if len(named) != 1 or len(named[0]) == 1 or all(wavelength_nm(name) is not None for name in named[0]):
        return
    images = list(named[0].values())
    if len(images) > _MOST_UNKNOWN:
        raise BandError(
            f"these {len(images)} images lie on one grid, and the words in their names are no bands that are known:"
            f"{describe(images)}\n{_advice(images, several=False, stamps=True)}"
        )
    _log.warning(
        "the %d files lie on one grid and are taken for the bands %s of one object. If each is an object: %s",
        len(images), ", ".join(named[0]), _one_band(images),
    )  # fmt: skip


def _advice(images: Sequence[Image], *, several: bool, stamps: bool) -> str:
    """Say how to name the bands of images that lie on one another, as others do (several) or not."""
    if several and len({image.path for image in images}) == len(images):  # a pattern is for the files of all tiles
        each = (
            "If each is another band, say what the names of its files share, as in --bands 'g=*_g.fits' "
            "--bands 'r=*_r.fits'"
        )
    else:
        example = " ".join(f"--bands NAME{n}={image.place}" for n, image in enumerate(images[:3], 1))
        each = f"If each is another band, name them, as in {example}, or choose extensions with --ext"
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


def _try(
    groups: Sequence[Sequence[Image]], rule: Callable[[Sequence[Image]], list[str]], *, alone: bool = False
) -> Named | None:
    """Name the images of all groups by a rule; None if it does not name all, or two alike.

    Images that have one name are tiles of their own if they have other grids, or whatever their grids (alone).
    """
    named: Named = []
    for group in groups:
        names = rule(group)
        if len(names) != len(group) or not all(names):
            return None
        if len(set(names)) == len(names):
            named.append(dict(zip(names, group, strict=True)))
        elif len(set(names)) == 1 and (alone or _all_apart(group)):
            named.extend({names[0]: image} for image in group)
        else:
            return None
    return named


def _all_apart(group: Sequence[Image]) -> bool:
    """Whether no two images have the same grid: exposures of one area, not bands that forgot to say so."""
    pairs = itertools.combinations(group, 2)
    return all(a.grid is not None and b.grid is not None and not same_grid(a.grid, b.grid) for a, b in pairs)


def _by_extension(group: Sequence[Image]) -> list[str]:
    if len({image.path for image in group}) > 1:
        return []
    if len(group) == 1:
        return [group[0].header_band or group[0].extension_band]
    return [image.extension_band for image in group]


def _words(image: Image) -> list[str]:
    name = image.path.name
    while Path(name).suffix.lower() in (".fits", ".fit", ".fts", ".fz", ".gz", ".bz2", ".z"):
        name = Path(name).stem
    return [word for word in re.split(r"[^0-9A-Za-z]+", name) if word]


def _by_file_name(group: Sequence[Image]) -> list[str]:
    words = [_words(image) for image in group]
    if len(group) > 1 and len({len(part) for part in words}) == 1:
        columns = [column for column in zip(*words, strict=True) if len(set(column)) == len(column)]
        known = [column for column in columns if all(wavelength_nm(word) is not None for word in column)]
        differing = [column for column in zip(*words, strict=True) if len(set(column)) > 1]
        for choice in (known, differing):
            if len(choice) == 1:
                return list(choice[0])
    names = []
    for part in words:
        known_words = [word for word in part if wavelength_nm(word) is not None]
        if len(known_words) != 1:
            return []
        names.append(known_words[0])
    return names


def _by_common_word(groups: Sequence[Sequence[Image]]) -> Callable[[Sequence[Image]], list[str]]:
    """Make the rule that takes the one word of file names which tells files apart in the same way in all groups."""
    words = [[_words(image) for image in group] for group in groups]
    lengths = {len(part) for group in words for part in group}
    places = range(lengths.pop()) if len(groups) > 1 and len(lengths) == 1 else ()
    columns = {place: [[part[place] for part in group] for group in words] for place in places}
    first = {place: set(column[0]) for place, column in columns.items()}
    telling = [
        place
        for place, column in columns.items()
        if len(first[place]) > 1 and all(sorted(names) == sorted(first[place]) for names in column)
    ]
    return lambda group: [_words(image)[telling[0]] for image in group] if len(telling) == 1 else []


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
