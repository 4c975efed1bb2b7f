"""Open the bytes of one picture file, or say why they are none that can be read."""

from __future__ import annotations

import io
import struct
import zlib

from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

__all__ = ["DAMAGE", "PictureError", "open_picture", "reason_of"]

# Named here so that Pillow need not load all its plugins to find these.
_FORMATS = (
    PngImagePlugin.PngImageFile.format,
    JpegImagePlugin.JpegImageFile.format,
    TiffImagePlugin.TiffImageFile.format,
    BmpImagePlugin.BmpImageFile.format,
    GifImagePlugin.GifImageFile.format,
    WebPImagePlugin.WebPImageFile.format,
    Jpeg2KImagePlugin.Jpeg2KImageFile.format,
)
_KINDS = "PNG, JPEG, TIFF, WebP, GIF, BMP or JPEG 2000"
_JPEG_2000 = Jpeg2KImagePlugin.Jpeg2KImageFile.format
_CUT_SHORT_REASON = "cut short: the file ends before the picture does"
_PNG_END = b"IEND\xaeB`\x82"  # its last chunk, with the checksum
_TRAILING_ZEROS = bytes(16)
# All that Pillow raises on files that are broken or made to break it.
DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    AssertionError,
    EOFError,
    RuntimeError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
_OTHER_FORMATS = (
    (b"RIFF", "a RIFF file of another kind than WebP"),
    (b"\x00\x00\x00\x1cftypavif", "an AVIF"),
    (b"8BPS", "a Photoshop file"),
    (b"v/1\x01", "an OpenEXR file"),
    (b"\xff\x0a", "a JPEG XL"),
    (b"\x00\x00\x00\x0cJXL ", "a JPEG XL"),
    (b"SIMPLE  =", "a FITS file (`astroanomaly ingest fits` reads those)"),
    (b"\x89HDF", "an HDF5 file"),
    (b"%PDF", "a PDF"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "a gzip file"),
)
_BITS_TAG, _SAMPLE_FORMAT_TAG = 258, 339
_SAMPLE_FORMATS = {1: "unsigned integers", 2: "signed integers", 3: "floating-point numbers"}


class PictureError(Exception):
    """One picture cannot be used; the text is the reason of its `Failure`. Never leaves the plugin."""


def open_picture(data: bytes, max_pixels: int) -> Image.Image:
    """Open a picture; no pixel is decoded.

    Raises
    ------
    PictureError
        If it is of no format that is read, cut short, or has too many pixels.
    """
    if not data:
        raise PictureError("the file is empty (0 bytes)")
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
    except Image.UnidentifiedImageError:
        raise PictureError(_why_unknown(data)) from None
    if (
        data.endswith(_TRAILING_ZEROS)
        and image.format in ("JPEG", "MPO")
        and data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda")
    ):
        # A JPEG without its end mark (0xFFD9) behind its last scan (0xFFDA): what a broken transfer left empty decodes
        # to plain grey.
        raise PictureError(_CUT_SHORT_REASON)
    if data.endswith(_TRAILING_ZEROS) and image.format == "PNG" and _PNG_END not in data:
        raise PictureError(_CUT_SHORT_REASON)  # zeros can pass for the end of its compressed pixels
    if image.format == _JPEG_2000 and not data.rstrip(b"\0").endswith(b"\xff\xd9"):
        raise PictureError(_CUT_SHORT_REASON)  # its decoder fills what is missing with grey
    width, height = image.size
    if width * height > max_pixels:
        raise PictureError(
            f"{width} x {height} pixels, more than the {max_pixels} allowed: perhaps a decompression bomb "
            "(--max-pixels sets the limit)"
        )
    return image


def _why_unknown(data: bytes) -> str:
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "begins like a WebP, but its header is damaged, or Pillow was built without WebP"
    for name, starts in (
        ("PNG", (b"\x89PNG",)),
        ("JPEG", (b"\xff\xd8",)),
        ("TIFF", (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
        ("GIF", (b"GIF8",)),
        ("BMP", (b"BM",)),
        ("JPEG 2000", (b"\x00\x00\x00\x0cjP  ", b"\xff\x4f\xff\x51")),
    ):
        if data.startswith(starts):
            pixels = _tiff_pixels(data) if name == "TIFF" else ""
            if pixels:
                return (
                    f"a TIFF whose pixels are {pixels}, which Pillow does not decode: save it with one channel of 8 or "
                    "16 bits or 32-bit floating-point numbers, or as FITS (`astroanomaly ingest fits`)"
                )
            return f"begins like a {name}, but its header is damaged or describes pixels that Pillow cannot decode"
    for start, what in _OTHER_FORMATS:
        if data.startswith(start):
            return f"no {_KINDS}, whatever its name says: it is {what}"
    text = all(byte in b"\t\n\r\f" or 32 <= byte < 127 for byte in data[:64])
    return f"no {_KINDS}, whatever its name says: it is {'text' if text else 'of an unknown format'}"


def _tiff_pixels(data: bytes) -> str:
    """Say in words what the pixels of a TIFF are; empty where its first directory cannot be read."""
    try:
        tags = TiffImagePlugin.ImageFileDirectory_v2(data[:8])
        stream = io.BytesIO(data)
        stream.seek(tags.next)
        tags.load(stream)
        bits = tuple(tags[_BITS_TAG])
        kind = _SAMPLE_FORMATS.get(next(iter(tags.get(_SAMPLE_FORMAT_TAG, (1,)))), "of an unknown kind")
    except DAMAGE:
        return ""
    return f"{len(bits)} channels of {bits[0]} bits, {kind}" if len(bits) > 1 else f"{bits[0]} bits, {kind}"


def reason_of(error: BaseException) -> str:
    """Say what went wrong in words that are the same for every picture with the same trouble."""
    text = str(error)
    if "truncated" in text.lower() or isinstance(error, EOFError):
        return _CUT_SHORT_REASON
    if isinstance(error, Image.DecompressionBombError):
        return "more pixels than Pillow allows (PIL.Image.MAX_IMAGE_PIXELS): perhaps a decompression bomb"
    if isinstance(error, MemoryError):
        return "decoding it needs more memory than there is"
    return f"damaged: {text or type(error).__name__}"
