"""What is ingested: FITS images, pictures, archives of pictures."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from pathlib import Path
from random import Random

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from astroanomaly.ingestion.request import SourceRequest
from astroanomaly.ingestion.workers import read_task
from astroanomaly.records import CutoutBlock, Failure
from edits import Edit, cards, random_bytes, random_fields
from kind import Found, Kind, fingerprint

__all__ = ["IMAGE_KINDS"]

_KEYS = (
    "SIMPLE", "XTENSION", "BITPIX", "NAXIS", "NAXIS1", "NAXIS2", "NAXIS3", "PCOUNT", "GCOUNT", "TFIELDS", "TFORM1",
    "TTYPE1", "THEAP", "BZERO", "BSCALE", "BLANK", "EXTEND", "EXTNAME", "WCSAXES", "CTYPE1", "CTYPE2", "CRPIX1",
    "CRPIX2", "CRVAL1", "CRVAL2", "CDELT1", "PC1_1", "CD1_1", "CUNIT1", "LONPOLE", "A_ORDER", "FILTER", "BUNIT",
    "ZIMAGE", "ZCMPTYPE", "ZBITPIX", "ZNAXIS", "ZNAXIS1", "ZNAXIS2", "ZTILE1", "ZTILE2", "ZNAME1", "ZVAL1", "ZSCALE",
    "ZZERO", "ZQUANTIZ", "ZBLANK", "ZDITHER0", "CHECKSUM", "DATASUM",
)  # fmt: skip
_SIDE = 24
_UNPACK = {"gz": gzip.decompress, "bz2": bz2.decompress, "xz": lzma.decompress}


# -------------------------------------------------------------------------------------------------------------- FITS


def _fits_seeds(folder: Path) -> dict[str, bytes]:
    rng = np.random.default_rng(3)
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], [150, 2], [12, 12]
    wcs.wcs.cdelt = [-1e-4, 1e-4]
    header = wcs.to_header()
    header["FILTER"], header["BUNIT"] = "g", "nJy"
    real = rng.normal(100, 9, (_SIDE, _SIDE)).astype("f4")
    whole = rng.integers(-999, 999, (_SIDE, _SIDE)).astype("i4")
    packed = {
        "rice": fits.CompImageHDU(whole, header, compression_type="RICE_1", tile_shape=(8, _SIDE)),
        "gzip2": fits.CompImageHDU(real, header, compression_type="GZIP_2", quantize_level=0),
        "hcompress": fits.CompImageHDU(whole, header, compression_type="HCOMPRESS_1", tile_shape=(12, _SIDE)),
        "plio": fits.CompImageHDU(whole.clip(0).astype("i2"), header, compression_type="PLIO_1"),
        "quantised": fits.CompImageHDU(real, header, compression_type="RICE_1", quantize_level=16),
    }
    seeds = {
        "real": _written(fits.PrimaryHDU(real, header)),
        "unsigned": _written(fits.PrimaryHDU(whole.astype("u2"), header)),
        "cube": _written(fits.PrimaryHDU(real[None], header)),
        "extension": _written(fits.PrimaryHDU(), fits.ImageHDU(whole, header, name="SCI")),
        "checksum": _written(fits.PrimaryHDU(real, header), checksum=True),
        **{name: _written(fits.PrimaryHDU(), hdu) for name, hdu in packed.items()},
    }
    x, y = np.array([8.0, 12.0, 15.0]), np.array([9.0, 12.0, 14.0])
    ra, dec = wcs.wcs_pix2world(x, y, 0)
    rows = "".join(f"o{number},{a},{b}\n" for number, (a, b) in enumerate(zip(ra, dec, strict=True)))
    (folder / "objects.csv").write_text("id,ra,dec\n" + rows)
    return {f"{use} {name}": content for name, content in seeds.items() for use in ("stamp", "mosaic")}


def _written(*hdus: object, checksum: bool = False) -> bytes:
    handle = io.BytesIO()
    fits.HDUList(list(hdus)).writeto(handle, checksum=checksum)
    return handle.getvalue()


def _edit_fits(rng: Random, name: str, content: bytes) -> list[Edit]:
    kind = rng.random()
    if kind < 0.5:
        return cards(rng, content, _KEYS)
    if kind < 0.6:
        return cards(rng, content, _KEYS) + random_bytes(rng, content, head=5760)
    return random_bytes(rng, content, head=2880 * rng.choice((1, 2, 3)))


def _read_fits(folder: Path, name: str, content: bytes) -> Found:
    path = folder / "x.fits"
    path.write_bytes(content)
    use = name.partition(" ")[0]
    options = {"catalog": folder / "objects.csv"} if use == "mosaic" else {}
    return _read("fits", path, {"size": "8", **options}, expected=3 if use == "mosaic" else 1)


def _read(source: str, path: Path, options: dict, expected: int) -> Found:
    """Plan and read everything, as an ingest does before it writes."""
    request = SourceRequest.of(source, path, options=options)
    values, cut, failures = [], 0, 0
    for task in request.plan():
        for item in read_task(request.source, task):
            if isinstance(item, Failure):
                failures += 1
                continue
            block = item if isinstance(item, CutoutBlock) else CutoutBlock.of(item)
            cut += len(block)
            values += [block.ids, np.asarray(block.images), np.asarray(block.ra), np.asarray(block.dec)]
    if cut + failures == 0 and expected:
        raise AssertionError("neither a cutout nor a failure came out")
    return Found(fingerprint(*values), failures)


# ----------------------------------------------------------------------------------------------------------- pictures


def _picture_seeds(folder: Path) -> dict[str, bytes]:
    rng = np.random.default_rng(5)
    noise = Image.fromarray(rng.integers(0, 255, (20, 24, 3)).astype("u1"))
    smooth = Image.fromarray(np.repeat(np.repeat(rng.integers(40, 220, (5, 6, 3)), 4, 0), 4, 1).astype("u1"))
    deep = Image.fromarray(rng.integers(0, 65535, (20, 24)).astype("u2"))
    real = Image.fromarray(rng.normal(0, 1, (20, 24)).astype("f4"))
    return {
        "rgb.png": _encoded(noise, "PNG"),
        "deep.png": _encoded(deep, "PNG"),
        "palette.png": _encoded(smooth.convert("P"), "PNG"),
        "alpha.png": _encoded(smooth.convert("RGBA"), "PNG"),
        "text.png": _encoded(smooth.convert("L"), "PNG", pnginfo=_texts()),
        "plain.jpg": _encoded(smooth, "JPEG"),
        "progressive.jpg": _encoded(smooth, "JPEG", progressive=True),
        "cmyk.jpg": _encoded(smooth.convert("CMYK"), "JPEG"),
        "exif.jpg": _encoded(smooth, "JPEG", exif=_orientation()),
        "raw.tif": _encoded(noise, "TIFF"),
        "lzw.tif": _encoded(smooth, "TIFF", compression="tiff_lzw"),
        "deflate.tif": _encoded(smooth, "TIFF", compression="tiff_deflate"),
        "jpeg.tif": _encoded(smooth, "TIFF", compression="jpeg"),
        "deep.tif": _encoded(deep, "TIFF"),
        "real.tif": _encoded(real, "TIFF"),
    }


def _encoded(image: Image.Image, form: str, **more: object) -> bytes:
    handle = io.BytesIO()
    image.save(handle, form, **more)
    return handle.getvalue()


def _texts() -> PngInfo:
    found = PngInfo()
    found.add_text("Title", "x" * 50, zip=True)
    found.add_itxt("Comment", "y" * 50, zip=True)
    return found


def _orientation() -> Image.Exif:
    found = Image.Exif()
    found[0x0112] = 6
    return found


def _edit_picture(rng: Random, name: str, content: bytes) -> list[Edit]:
    form = {"png": "png", "jpg": "jpeg", "tif": "tiff"}[name.rpartition(".")[2]]
    if rng.random() < 0.45:
        return random_fields(rng, content, form)
    edits = random_bytes(rng, content, head=120)
    return [*edits, ("repair png",)] if form == "png" and rng.random() < 0.5 else edits


def _read_picture(folder: Path, name: str, content: bytes) -> Found:
    (folder / "pictures").mkdir(exist_ok=True)
    (folder / "pictures" / "good.png").write_bytes(_GOOD)
    path = folder / "pictures" / f"x.{name.rpartition('.')[2]}"
    path.write_bytes(content)
    kind = "flux" if name in ("real.tif", "deep.tif") else "display"
    try:
        return _read("images", path.parent, {"kind": kind, "size": 16, "color": "rgb"}, expected=2)
    finally:
        path.unlink()


_GOOD = _encoded(Image.new("RGB", (24, 20), (9, 90, 200)), "PNG")


# ----------------------------------------------------------------------------------------------------------- archives


def _archive_seeds(folder: Path) -> dict[str, bytes]:
    rng = np.random.default_rng(7)
    pictures = {
        f"d/p{number}.png": _encoded(Image.fromarray(rng.integers(0, 255, (8, 8)).astype("u1")), "PNG")
        for number in range(5)
    }
    table = b"filename,ra,dec\n" + b"".join(b"p%d.png,%d,2\n" % (number, 150 + number) for number in range(5))
    pictures["d/t.csv"] = table
    return {
        "deflated.zip": _zipped(pictures, zipfile.ZIP_DEFLATED),
        "stored.zip": _zipped(pictures, zipfile.ZIP_STORED),
        "bzip2.zip": _zipped(pictures, zipfile.ZIP_BZIP2),
        "lzma.zip": _zipped(pictures, zipfile.ZIP_LZMA),
        "plain.tar": _tarred(pictures, "w", tarfile.USTAR_FORMAT),
        "pax.tar": _tarred(pictures, "w", tarfile.PAX_FORMAT),
        "gnu.tar": _tarred(pictures, "w", tarfile.GNU_FORMAT),
        "x.tar.gz": _tarred(pictures, "w:gz", tarfile.PAX_FORMAT),
        "x.tar.bz2": _tarred(pictures, "w:bz2", tarfile.PAX_FORMAT),
        "x.tar.xz": _tarred(pictures, "w:xz", tarfile.PAX_FORMAT),
    }


def _zipped(members: dict[str, bytes], method: int) -> bytes:
    handle = io.BytesIO()
    with zipfile.ZipFile(handle, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return handle.getvalue()


def _tarred(members: dict[str, bytes], mode: str, form: int) -> bytes:
    handle = io.BytesIO()
    with tarfile.open(fileobj=handle, mode=mode, format=form) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            about = tarfile.TarInfo(name)
            about.size = len(content)
            if form == tarfile.PAX_FORMAT:
                about.pax_headers = {"comment": "ü"}
            archive.addfile(about, io.BytesIO(content))
    return handle.getvalue()


def _edit_archive(rng: Random, name: str, content: bytes) -> list[Edit]:
    form = name.rpartition(".")[2]
    if form in _UNPACK and rng.random() < 0.6:
        return [("inside", form, _edit_archive(rng, "plain.tar", _UNPACK[form](content)))]
    if form in ("zip", "tar") and rng.random() < 0.6:
        return random_fields(rng, content, form)
    return random_bytes(rng, content, head=600)


def _read_archive(folder: Path, name: str, content: bytes) -> Found:
    path = folder / name
    path.write_bytes(content)
    try:
        return _read("images", path, {"size": 8, "color": "grey"}, expected=5)
    finally:
        path.unlink()


def _fits_command(folder: Path, name: str, path: Path) -> list[str]:
    catalog = ["--catalog", str(folder / "objects.csv")] if name.startswith("mosaic") else []
    return ["ingest", "fits", str(path), *catalog, "--size", "8"]


def _images_command(folder: Path, name: str, path: Path) -> list[str]:
    return ["ingest", "images", str(path), "--size", "8"]


IMAGE_KINDS = (
    Kind("FITS images", 30, _fits_seeds, _edit_fits, _read_fits, _fits_command),
    Kind("pictures", 70, _picture_seeds, _edit_picture, _read_picture, _images_command),
    Kind("archives", 40, _archive_seeds, _edit_archive, _read_archive, _images_command),
)
