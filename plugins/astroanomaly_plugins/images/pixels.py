"""From the bytes of one picture file to uniform pixels: the rule for depth, colour, orientation and size."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image, ImageOps, TiffImagePlugin

from astroanomaly_plugins.images.colour import to_srgb
from astroanomaly_plugins.images.opening import DAMAGE, PictureError, open_picture, reason_of

__all__ = ["Header", "PictureError", "PixelRule", "decode", "quiet", "read_header"]

_GREY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N", "F")
_TIFF = TiffImagePlugin.TiffImageFile.format
_ORIENTATION_TAG = 0x0112
_SUBFILE_TAG, _EXTRA_SAMPLES_TAG = 254, 338  # of TIFF 6.0
_PAGED = {_TIFF: "a TIFF of several pages", "GIF": "a GIF that moves", "WEBP": "a WebP that moves"}
_OPAQUE = 255
_METADATA = {"exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp"}  # where Pillow finds an orientation
_PERCENTILES = (0.5, 99.8)
_BAND_NAMES = {"rgb": ("R", "G", "B"), "grey": ("I",)}


@dataclass(frozen=True)
class PixelRule:
    """How every picture of a cache is made alike.

    Parameters
    ----------
    color
        ``rgb`` or ``grey``.
    height, width
        Size of the result in pixels.
    kind
        ``display``: uint8. ``flux``: float32 with the values of the file.
    fit
        ``pad``: the whole picture, centred, with a border. ``crop``: the centre that fills the frame.
    sixteen_bit
        ``scale``: the whole range of 16-bit integers to 0..255. ``percentile``: per picture.
    max_pixels
        Pictures with more pixels than this are refused before they are decoded.
    center
        Side of the square of the picture's own pixels in its middle that is taken first; 0: the whole picture. Of a
        smaller picture, ``pad`` takes what there is, with a border; ``crop`` refuses it.
    pages
        What is made of a TIFF of several pages, or of a GIF or WebP that moves: ``refuse``, or ``first``.
    icc
        What is made of colours with an ICC profile: ``srgb``, brought to sRGB, or ``ignore``. Flux is never touched.
    """

    color: Literal["rgb", "grey"]
    height: int
    width: int
    kind: Literal["display", "flux"] = "display"
    fit: Literal["pad", "crop"] = "pad"
    sixteen_bit: Literal["scale", "percentile"] = "scale"
    max_pixels: int = 50_000_000
    center: int = 0
    pages: Literal["refuse", "first"] = "refuse"
    icc: Literal["srgb", "ignore"] = "srgb"

    @property
    def bands(self) -> tuple[str, ...]:
        """Names of the bands."""
        return _BAND_NAMES[self.color]

    @property
    def dtype(self) -> np.dtype:
        """Type of the pixels."""
        return np.dtype(np.uint8 if self.kind == "display" else np.float32)


@dataclass(frozen=True)
class Header:
    """What the first bytes of a picture say.

    Parameters
    ----------
    height, width
        Size in pixels, upright.
    colour
        Whether it has colours.
    unscaled
        Whether its pixels are floating-point or 32-bit numbers, which have no natural black and white.
    """

    height: int
    width: int
    colour: bool
    unscaled: bool


def quiet() -> warnings.catch_warnings:
    """Keep Pillow from warning about odd metadata of every single picture; what is wrong becomes a failure."""
    return warnings.catch_warnings(action="ignore")


def read_header(data: bytes, max_pixels: int) -> Header:
    """Read the header of a picture file; no pixel is decoded, except for the colours of a palette.

    Raises
    ------
    PictureError
        If it is no picture, or one with too many pixels.
    """
    try:
        with open_picture(data, max_pixels) as image:
            raw = _raw_mode(image)
            colour = image.mode not in _GREY_MODES and not raw.startswith("LA")
            if image.mode == "P":
                levels = np.frombuffer(bytes(image.getpalette("RGB") or b""), np.uint8).reshape(-1, 3)
                colour = bool((levels != levels[:, :1]).any())
            width, height = image.size
            # A TIFF is turned upright by Pillow, which swaps its size already when it is opened.
            if image.format != "TIFF" and image.getexif().get(_ORIENTATION_TAG) in (5, 6, 7, 8):
                width, height = height, width
            return Header(height, width, colour, image.mode in ("I", "F") and not _is_sixteen_bit(image.mode, raw))
    except DAMAGE as error:
        raise PictureError(reason_of(error)) from error


def decode(data: bytes, rule: PixelRule) -> np.ndarray:
    """Decode one picture file and make it like all others.

    Parameters
    ----------
    data
        The whole file.
    rule
        What it is to become.

    Returns
    -------
    numpy.ndarray
        ``(bands, height, width)``: uint8 in 0..255 for display, float32 with NaN outside the picture for flux.

    Raises
    ------
    PictureError
        If the file is of no format that is read, is cut short or damaged, has more pixels than allowed, or has several
        pages. A picture of which a part is missing is never returned.
    """
    try:
        with open_picture(data, rule.max_pixels) as image:
            raw = _raw_mode(image)
            if image.format in _PAGED and rule.pages == "refuse":
                _refuse_pages(image)
            image.load()
            image = _without_false_alpha(image)
            if rule.icc == "srgb" and rule.kind == "display" and image.info.get("icc_profile"):
                image = to_srgb(image)
            upright = image
            if image.info.keys() & _METADATA:  # looking for EXIF in every picture would cost a tenth of the speed
                upright = ImageOps.exif_transpose(image)
            if rule.center:
                upright = _middle(upright, rule)
            if rule.kind == "flux":
                return np.stack([_fitted(plane, rule, np.nan) for plane in _flux_planes(upright, raw, rule)])
            pixels = _fitted(_eight_bit(upright, raw, rule), rule, 0)
            return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    except DAMAGE as error:
        raise PictureError(reason_of(error)) from error


def _refuse_pages(image: Image.Image) -> None:
    """Refuse further pages; of a TIFF, a smaller copy of the first, and a mask for it, are none."""
    first = image.size
    try:
        image.seek(1)
    except EOFError:
        return
    about = int(getattr(image, "tag_v2", {}).get(_SUBFILE_TAG, 0) or 0)
    smaller = image.format == _TIFF and image.width < first[0] and image.height < first[1]
    image.seek(0)
    if not about & 0b101 and not smaller:
        raise PictureError(
            f"{_PAGED[str(image.format)]}, of which each may be a band, an exposure or a picture of its own: save them "
            "as files of their own, or take the first of each with --pages first"
        )


def _without_false_alpha(image: Image.Image) -> Image.Image:
    """Take off a further channel of a TIFF that is no transparency, and leave the colours as they are.

    It is one only where ``ExtraSamples`` says so and some pixel is opaque: tifffile calls the fourth channel of any
    array unassociated alpha.
    """
    if image.format != _TIFF or image.mode not in ("RGBA", "LA"):
        return image
    said = tuple(getattr(image, "tag_v2", {}).get(_EXTRA_SAMPLES_TAG, ()) or ())
    if said[:1] in ((1,), (2,)) and image.getchannel("A").getextrema()[1] == _OPAQUE:
        return image
    colours = image.split()[:-1]
    return Image.merge("RGB", colours) if len(colours) == len("RGB") else colours[0]


def _raw_mode(image: Image.Image) -> str:
    """Return how the file stores a pixel, as in ``RGB;16B``; known until the picture is loaded."""
    tiles = getattr(image, "tile", None)
    arguments = tiles[0][3] if tiles else ""
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


def _is_sixteen_bit(mode: str, raw: str) -> bool:
    """Whether the picture holds unsigned integers of up to 16 bits in one band."""
    return mode.startswith("I;16") or (raw.startswith("I;16") and "S" not in raw)


# ------------------------------------------------------------------------------------------------- depth and colour


def _eight_bit(image: Image.Image, raw: str, rule: PixelRule) -> Image.Image:
    """Bring any mode to ``L`` or ``RGB``."""
    mode = "L" if rule.color == "grey" else "RGB"
    if image.mode == mode and "transparency" not in image.info:  # most pictures
        return image
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image)
        if rule.sixteen_bit == "percentile":
            levels = _percentile_levels(values)
        elif _is_sixteen_bit(image.mode, raw):
            full = 4095 if raw == "I;12" else 65535
            levels = ((values.astype(np.uint32) * 510 + full) // (2 * full)).astype(np.uint8)
        else:
            raise PictureError(
                "floating-point, signed or 32-bit pixels have no natural black and white: give --kind flux to keep "
                "them linear, or --sixteen-bit percentile to stretch each picture by itself"
            )
        return Image.fromarray(levels).convert(mode)
    return _opaque(image).convert(mode)


def _opaque(image: Image.Image) -> Image.Image:
    """Compose over black what has transparency; bring every colour space to ``L`` or ``RGB``."""
    if image.mode == "RGBa":  # stored as colour times alpha: over black already
        return Image.merge("RGB", image.split()[:3])
    if image.has_transparency_data:
        rgba = image if image.mode == "RGBA" else image.convert("RGBA")
        return Image.merge("RGB", rgba.convert("RGBa").split()[:3])  # colour times alpha
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


def _percentile_levels(values: np.ndarray) -> np.ndarray:
    """Stretch one picture linearly between two of its own percentiles to uint8; NaN becomes 0."""
    known = values[np.isfinite(values)]
    if not known.size:
        raise PictureError("it has no finite pixel")
    low, high = np.percentile(known.astype(np.float64), _PERCENTILES)
    if not high > low:
        return np.zeros(values.shape, np.uint8)
    share = np.clip((values.astype(np.float64) - low) / (high - low), 0, 1)
    return np.rint(np.nan_to_num(share, nan=0.0) * 255).astype(np.uint8)


def _flux_planes(image: Image.Image, raw: str, rule: PixelRule) -> list[Image.Image]:
    """Return one float32 plane per band with the numbers of the file."""
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image).astype(np.float32)
        if not np.isfinite(values).any():
            raise PictureError("it has no finite pixel")
        values[~np.isfinite(values)] = np.nan
        return [Image.fromarray(values)] * len(rule.bands)
    if "16" in raw:
        raise PictureError(
            "16 bits for each colour: Pillow decodes the upper 8 of them only, which is no linear flux. Save one grey "
            "16-bit or floating-point picture per band, or use --kind display"
        )
    opaque = _opaque(image)
    if rule.color == "grey":
        return [opaque.convert("F")]  # for colours 0.299 R + 0.587 G + 0.114 B, not rounded
    return [plane.convert("F") for plane in opaque.convert("RGB").split()]


# ------------------------------------------------------------------------------------------------------------- size


def _middle(image: Image.Image, rule: PixelRule) -> Image.Image:
    """Cut the square of the rule out of the middle, or as much of it as there is; where halves differ, up and left."""
    width, height, side = *image.size, rule.center
    if min(width, height) < side and rule.fit == "crop":
        raise PictureError(
            f"{width} x {height} pixels, smaller than the {side} x {side} of --center (--fit pad adds a border)"
        )
    left, top = max(0, (width - side) // 2), max(0, (height - side) // 2)
    return image.crop((left, top, min(width, left + side), min(height, top + side)))


def _fitted(image: Image.Image, rule: PixelRule, fill: float) -> np.ndarray:
    """Bring a picture to the size of the rule; one that has it already is not touched."""
    width, height = image.size
    frame = (rule.width, rule.height)
    if image.size == frame:
        return np.asarray(image)
    across, down = width * rule.height, height * rule.width  # across > down: wider than the frame
    if rule.fit == "crop" and not rule.center:
        # The crop is made by the resampling itself: scaling a sliver up first could need any amount of memory.
        keep_width, keep_height = width * min(1.0, down / across), height * min(1.0, across / down)
        left, top = (width - keep_width) / 2, (height - keep_height) / 2
        box = (left, top, min(left + keep_width, width), min(top + keep_height, height))
        return np.asarray(image.resize(frame, Image.Resampling.BICUBIC, box=box))
    if rule.center:  # not resampled: a border around what is smaller
        inner = image.size
    elif across >= down:
        inner = (rule.width, max(1, (2 * height * rule.width + width) // (2 * width)))
    else:
        inner = (max(1, (2 * width * rule.height + height) // (2 * height)), rule.height)
    scaled = image if inner == image.size else image.resize(inner, Image.Resampling.BICUBIC)
    if inner == frame:
        return np.asarray(scaled)
    pixels = np.asarray(scaled)
    framed = np.full((rule.height, rule.width, *pixels.shape[2:]), fill, pixels.dtype)
    top, left = (rule.height - inner[1]) // 2, (rule.width - inner[0]) // 2
    framed[top : top + inner[1], left : left + inner[0]] = pixels
    return framed
