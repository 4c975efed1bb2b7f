"""The images of FITS files, listed by their headers alone: what each is, and which can be bands."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from astroanomaly import AstroAnomalyError, BandError, Grid, UnreadableError, wavelength_nm
from astroanomaly.cutting import grid_from_hdu, quiet, same_grid
from astroanomaly_plugins.mosaics.listing import SUFFIX, words_of
from astroanomaly_plugins.mosaics.places import open_place
from astroanomaly_plugins.mosaics.planes import BROKEN, asinh_of, first_line, flat_shape
from astroanomaly_plugins.mosaics.without_images import is_target_pixel_file

__all__ = [
    "Image",
    "clean",
    "describe",
    "refuse_logarithmic",
    "scan",
    "select",
    "settle_auxiliary",
    "why_left_out",
    "zero_point",
]


_BAND_KEYS = (
    "BAND",
    "FILTER",
    "FILTNAM",
    "FILTNAM1",
    "FILTER1",
    "FILTER2",
    "FILTER3",
    "INSFLNAM",
    "ESO INS FILT1 NAME",
)
_ZERO_POINTS = (
    "MAGZERO", "MAGZPT", "MAGZP", "MAGZEROP", "MAG0", "ZPAB", "ABZP", "ZP_AB", "ZEROPT", "ZEROPNT", "ZEROPOIN",
    "PHOTZP", "PHOTZPT", "ZP", "ZPOINT", "MZP",
)  # fmt: skip
_LOGARITHMIC = re.compile(r"\s*((ab|st|vega)?_?mag(nitudes?)?|dex|db)(?![a-z])", re.IGNORECASE)
_MOST_PLANES = 4096  # of a cube that is taken apart
_NO_FILTER = re.compile(r"(clear\w*|open|none|n/?a|empty|unknown|no_?filter|air|blank|mirror|-+)$", re.IGNORECASE)
# Words in the name of an extension or of a file that say: these pixels are about an image, not an image.
_AUXILIARY_WORDS = re.compile(
    r"weights?|wht|wgt|rms|psf|quality|qual|dq|masks?|msk|bpm|ivar|invvar|var|variance|err|errors?|sigma|unc|"
    r"uncertainty|flags?|wcsdvarr|d2imarr|oow|ood|wt|expwt|expmap|expo(sure)?map|exposure|cov|coverage|nexp|rrhr|skybg|std"
)
_AUXILIARY_EXTENSION_WORDS = re.compile(_AUXILIARY_WORDS.pattern + r"|ctx|con|exp|exptime|sig|noise|stat")
_GENERIC_NAMES = re.compile(r"sci|flux|bgsub|image|img|data|primary|compressed|counts|science")
_PRODUCT_WORDS = re.compile(  # in file names: what stands where the name of the weight map says weight
    _GENERIC_NAMES.pattern + r"|drz|drc|flt|flc|crj|i2d|cal|calexp|int|intbgsub|mosaic|coadd|stack|stk|exp|frame"
)
_WEAK_WORDS = re.compile(r"exp|num")  # as Pan-STARRS has them; of another survey such a word is a part of the name
_AUXILIARY_TYPES = re.compile(r"mask|variance|error|quality|weight|psf", re.IGNORECASE)  # EXTTYPE, HDUCLAS2


@dataclass(frozen=True, eq=False)
class Image:
    """One image extension, known by its header.

    Attributes
    ----------
    path, hdu
        File and number of the extension in it.
    root
        What was given on the command line: the folder that was searched, or the file's own folder.
    extension
        ``NAME,VERSION`` of the extension, or its number.
    shape
        ``(height, width)`` in pixels; more than two lengths for a cube.
    grid
        The pixel grid, or None without a celestial WCS.
    header_band, extension_band
        Band by the header and by the extension's name; empty where they say nothing.
    unit
        ``BUNIT``, or empty.
    auxiliary
        The word that says this is no band (weight, psf ...), or empty.
    zero_point
        Magnitude of one unit of flux, NaN where the header has none.
    kind
        ``EXTTYPE`` of the extension: ``IMAGE``, ``MASK`` ...; or empty.
    plane
        Number of the plane of a cube, from 0; None for an image of two axes.
    nameless
        Whether it is a plane of a cube whose header does not say what its planes are.
    alone
        Whether it is an object of its own, whatever else is on its grid.
    asinh
        Whether its pixels are asinh magnitudes of Pan-STARRS, which are turned into flux.
    """

    path: Path
    hdu: int
    root: Path
    extension: str
    shape: tuple[int, ...]
    grid: Grid | None
    header_band: str
    extension_band: str
    unit: str
    auxiliary: str
    zero_point: float = math.nan
    kind: str = ""
    plane: int | None = None
    nameless: bool = False
    alone: bool = False
    asinh: bool = False

    @property
    def place(self) -> str:
        """Path, extension and plane, as messages and ``--bands`` spell them."""
        return f"{self.path}{self.spot}"

    @property
    def logarithmic(self) -> bool:
        """Whether the unit is a magnitude, dex or decibel: no flux that can be stretched, resampled or added."""
        return bool(_LOGARITHMIC.match(self.unit))

    @property
    def spot(self) -> str:
        """Extension and plane in the file: ``[SCI,1]``, ``[0][2]``."""
        return f"[{self.extension}]" if self.plane is None else f"[{self.extension}][{self.plane}]"

    @property
    def relative(self) -> str:
        """Path relative to what was given."""
        return self.path.relative_to(self.root).as_posix()

    @property
    def usable_in_named_file(self) -> bool:
        """Whether this can be a band when its file, whatever its name, is named outright."""
        return not _auxiliary_word(self.extension, _AUXILIARY_EXTENSION_WORDS)

    def is_extension(self, wanted: str) -> bool:
        """Whether a name, ``NAME,VERSION`` or number (or a pattern with ``*``) means this extension."""
        wanted = wanted.strip()
        names = (str(self.hdu), self.extension, self.extension.partition(",")[0], self.kind)
        return any(fnmatchcase(name.upper(), wanted.upper()) for name in names if name)


def scan(path: Path, root: Path) -> list[Image]:
    """List the images of a file, auxiliary ones included, by their headers; no pixels are read.

    Raises
    ------
    UnreadableError
        If the file is no FITS file, or damaged.
    """
    word = _auxiliary_word(SUFFIX.sub("", path.name), _AUXILIARY_WORDS)
    images = []
    try:
        with quiet(), open_place(path, memmap=True, do_not_scale_image_data=True) as hdulist:
            for number, hdu in enumerate(hdulist):
                if not hdu.is_image or not hdu.shape:
                    continue
                header, primary = hdu.header, hdulist[0].header
                if hdu.name == "APERTURE" and is_target_pixel_file(hdulist):
                    continue
                if header.get("NAXIS", 0) < 2:
                    continue
                name, kind = (str(header.get(key, "")).strip() for key in ("EXTNAME", "EXTTYPE"))
                flat = flat_shape(tuple(int(length) for length in hdu.shape))
                about = next((x for x in (kind, header.get("HDUCLAS2")) if _AUXILIARY_TYPES.fullmatch(str(x))), "")
                image = Image(
                    path=path,
                    hdu=number,
                    root=root,
                    extension=f"{name},{hdu.ver}" if name else str(number),
                    shape=flat,
                    grid=grid_from_hdu(hdu, hdulist) if len(flat) in (2, 3) else None,
                    header_band=_header_band(header) or _header_band(primary),
                    extension_band=_extension_band(name),
                    unit=str(header.get("BUNIT", "")).strip(),
                    auxiliary=word or _auxiliary_word(name, _AUXILIARY_EXTENSION_WORDS) or str(about).lower(),
                    zero_point=zero_point(header, primary),
                    kind=kind,
                    asinh=asinh_of(header) is not None,
                )
                images += _planes(image, header, primary) if len(flat) == 3 else [image]
    except AstroAnomalyError as error:
        if str(path) in str(error):
            raise
        raise UnreadableError(f"{path}: {error}") from error
    except BROKEN as error:
        raise UnreadableError(f"{path} cannot be read as FITS: {first_line(error)}") from error
    return images


def _planes(cube: Image, header: Any, primary: Any) -> list[Image]:
    """Make one image of each plane of a cube; the header may say which band each shows."""
    count = cube.shape[0]
    if count > _MOST_PLANES:
        return [cube]
    bands = _plane_bands(header, count) or _plane_bands(primary, count) or [""] * count
    plane = replace(cube, shape=cube.shape[1:])
    return [
        replace(plane, plane=k, header_band=clean(band) or cube.header_band, nameless=not band)
        for k, band in enumerate(bands)
    ]


def _plane_bands(header: Any, count: int) -> list[str]:
    """Read the bands of the planes of a cube: ``BANDS`` (``grz``, ``g,r,z``), ``BAND0`` or ``BAND1`` ...; else none."""
    text = str(header.get("BANDS", "")).strip()
    words = re.split(r"[\s,;|/]+", text) if re.search(r"[\s,;|/]", text) else list(text)
    lists = [words, *([str(header.get(f"BAND{k + first}", "")).strip() for k in range(count)] for first in (0, 1))]
    return next((words for words in lists if len(words) == count == len({*words} - {""})), [])


def settle_auxiliary(images: Sequence[Image]) -> list[Image]:
    """Let a word such as weight or psf count only where there is something that it can be the weight or the psf of.

    That is another image in the same file; a file whose name is the same without the word, or has a word such as sci
    in its place, or any file where a name has no other word; or another image on the same grid. A star called sigma
    Orionis has no such sibling.
    """
    images = _with_weak_words(images)
    plain = [image for image in images if not image.auxiliary]
    if len(plain) == len(images):
        return plain
    in_file = {image.path for image in plain}
    folders = {image.path.parent for image in plain}
    names = {(image.path.parent, _name_key(image.path)[0]) for image in plain}
    grids: dict[tuple[Any, ...], list[Grid]] = {}
    for image in plain:
        if image.grid is not None:
            grids.setdefault(_rough(image.grid), []).append(image.grid)
    settled = []
    for image in images:
        if image.auxiliary:
            key, words = _name_key(image.path)
            named = bool(_auxiliary_word(SUFFIX.sub("", image.path.name), _AUXILIARY_WORDS))
            has_sibling = image.path in in_file or (
                named and ((image.path.parent, key) in names or (not words and image.path.parent in folders))
            )
            if not has_sibling and image.grid is not None:
                near = grids.get(_rough(image.grid), ())
                has_sibling = any(same_grid(image.grid, other) for other in near)
            own = _own_word(image)  # also where the name of the file has said something of all its images
            if not has_sibling and own and any(one.path == image.path and not _own_word(one) for one in images):
                image = replace(image, auxiliary=own)
            elif not has_sibling:
                image = replace(image, auxiliary="")
        settled.append(image)
    return settled


def _with_weak_words(images: Sequence[Image]) -> list[Image]:
    """Let a word such as exp count where a file of exactly the same name without it is there."""
    words = {image.path: tuple(words_of(image.path.name)) for image in images}
    names = {(path.parent, one) for path, one in words.items()}
    found = []
    for image in images:
        word = next((word for word in words[image.path] if _WEAK_WORDS.fullmatch(word.lower())), "")
        if word and not image.auxiliary:
            rest = tuple(other for other in words[image.path] if other != word)
            if (image.path.parent, rest) in names:
                image = replace(image, auxiliary=word.lower())
        found.append(image)
    return found


def _own_word(image: Image) -> str:
    """Return the word in the name or the kind of an extension that says it is about another image."""
    word = _auxiliary_word(image.extension.partition(",")[0], _AUXILIARY_EXTENSION_WORDS)
    return word or (image.kind.lower() if _AUXILIARY_TYPES.fullmatch(image.kind) else "")


def _name_key(path: Path) -> tuple[tuple[str, ...], bool]:
    """Return the words of a file's name without those that say what the pixels are, and whether any is left."""
    words = [word.lower() for word in words_of(path.name)]
    bare = [re.sub(r"\d+$", "", word) or word for word in words]
    about = [_AUXILIARY_WORDS.fullmatch(word) or _PRODUCT_WORDS.fullmatch(word) for word in bare]
    kept = tuple(word for word, said in zip(words, about, strict=True) if not said)
    return kept, bool(kept)


def _rough(grid: Grid) -> tuple[Any, ...]:
    """Return what two grids with the same pixels have in common, but for rounding."""
    core = grid.wcs.wcs
    return (*grid.shape, *(round(float(value), 1) for value in core.crval))


def zero_point(*headers: Any) -> float:
    """Magnitude of one unit of flux by the first header that has one; NaN where none has."""
    for header in headers:
        for key in _ZERO_POINTS:
            value = header.get(key)
            if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value:
                return float(value)
    return math.nan


def _auxiliary_word(name: str, words: re.Pattern[str]) -> str:
    parts = (re.sub(r"\d+$", "", part) for part in re.split(r"[^0-9a-z]+", name.lower()))
    return next((part for part in parts if words.fullmatch(part)), "")


def _header_band(header: Any) -> str:
    """Read the band from the first filter keyword that names a filter; of several words, one that is a known band."""
    for key in _BAND_KEYS:
        value = header.get(key)
        words = [word for word in str(value).split() if not _NO_FILTER.match(word)] if isinstance(value, str) else []
        if words:
            return clean(next((word for word in words if wavelength_nm(word) is not None), words[0]))
    if str(header.get("INSTRUME", "")).strip().upper() == "IRAC" and header.get("CHNLNUM") in (1, 2, 3, 4):
        return f"IRAC{header['CHNLNUM']}"
    return ""


def clean(name: str) -> str:
    """Make a band name that flags and files can hold: no blanks, commas or equals signs."""
    return re.sub(r"[\s,=+\[\]/]+", "_", name.strip()).strip("_")


def _extension_band(name: str) -> str:
    """Extension name without the words that only say that it is an image: ``DES_G_BGSUB`` is ``DES_G``."""
    parts = [part for part in re.split(r"[^0-9A-Za-z]+", name) if part and not _GENERIC_NAMES.fullmatch(part.lower())]
    return clean("_".join(parts))


def select(images: Sequence[Image], extensions: Sequence[str]) -> list[Image]:
    """Keep the images that can be bands: those of ``--ext``, else all that are no weight, psf, mask or the like.

    Raises
    ------
    BandError
        If nothing is left of a file, or what is left is no two-dimensional image.
    """
    if extensions:
        chosen = [image for image in images if any(image.is_extension(wanted) for wanted in extensions)]
    else:
        chosen = [image for image in images if not why_left_out(image)]
    for image in chosen:
        if len(image.shape) != 2:
            raise BandError(
                f"{image.place} has {len(image.shape)} axes {image.shape}; expected an image of two axes, or a cube of "
                f"at most {_MOST_PLANES} planes"
            )
    refuse_logarithmic(chosen)
    return chosen


def refuse_logarithmic(images: Sequence[Image]) -> None:
    """Refuse images that somebody chose and that are in magnitudes.

    Raises
    ------
    BandError
        If one is.
    """
    for image in images:
        if image.logarithmic:
            raise BandError(
                f"{image.place} is in {image.unit} (BUNIT), which is no linear flux. Convert it first, as in "
                "flux = 10**(-0.4 * mag), or give the image it was made of"
            )


def why_left_out(image: Image) -> str:
    """Say why an image that nobody asked for by name is no band; empty where it may be one."""
    if image.auxiliary:
        return f"{image.auxiliary}: about another image (--ext or --bands takes it)"
    if len(image.shape) != 2:
        return f"{len(image.shape)} axes"
    if image.logarithmic:
        return f"in {image.unit}, which is no linear flux (convert it first: flux = 10**(-0.4 mag))"
    if image.nameless:
        return "plane of a cube whose header has no BANDS (--bands NAME=FILE[EXT][PLANE], or --planes objects)"
    return ""


def describe(images: Sequence[Image]) -> str:
    """List images for a message, a few of each file."""
    lines = []
    for image in images[:30]:
        size = "x".join(str(length) for length in reversed(image.shape))
        notes = [size, "WCS" if image.grid else "no WCS"]
        notes += [f"band {image.header_band}"] if image.header_band else []
        notes += [f"never a band: {image.auxiliary}"] if image.auxiliary else []
        notes += ["plane of a cube"] if image.nameless else []
        notes += [f"in {image.unit}, no flux"] if image.logarithmic else []
        lines.append(f"\n  {image.place} ({', '.join(notes)})")
    return "".join(lines) + (f"\n  ... {len(images) - 30} more" if len(images) > 30 else "")
