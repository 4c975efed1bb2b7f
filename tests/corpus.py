"""Odd files, made by code: each writes itself into a folder, and says what is to become of it.

``FITS`` and ``PICTURES`` map a name to a function that writes into a folder, what of it is ingested, and how many
objects are cut and fail; None where the whole is refused.
"""

import io
import tarfile
import zipfile

import h5py
import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from PIL import Image

__all__ = ["FITS", "PICTURES", "header", "pixels"]


def pixels(seed=0, shape=(24, 28)):
    return np.random.default_rng(seed).normal(5, 1, shape).astype(np.float32)


def header(ra=150.0, dec=2.0, shape=(24, 28), scale=0.3, ctype=("RA---TAN", "DEC--TAN"), **cards):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = [name[:5] + "TAN" for name in ctype], [ra, dec]
    wcs.wcs.crpix = [(shape[1] + 1) / 2, (shape[0] + 1) / 2]
    wcs.wcs.cd = np.array([[-1, 0], [0, 1]]) * scale / 3600
    made = wcs.to_header()
    made["CTYPE1"], made["CTYPE2"] = ctype
    made.update(cards)
    return made


def one(data, head=None, name="x.fits"):
    def write(folder):
        fits.writeto(folder / name, data, head)

    return write


def several(*hdus, name="x.fits"):
    def write(folder):
        fits.HDUList([fits.PrimaryHDU(), *(hdu.copy() for hdu in hdus)]).writeto(folder / name)

    return write


def raw(name, content):
    def write(folder):
        (folder / name).write_bytes(content)

    return write


def fits_bytes(data=None, head=None):
    buffer = io.BytesIO()
    fits.PrimaryHDU(pixels() if data is None else data, head).writeto(buffer)
    return buffer.getvalue()


def zip_of(folder):
    with zipfile.ZipFile(folder / "x.zip", "w") as archive:
        for name in ("a.fits", "b.fits"):
            archive.writestr(name, fits_bytes(pixels(len(name))))
        archive.writestr("notes.txt", "x")


def tar_of(folder):
    with tarfile.open(folder / "x.tar.bz2", "w:bz2") as archive:
        content = fits_bytes()
        info = tarfile.TarInfo("a.fits")
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))


def linked(folder):
    fits.writeto(folder / "x.fits", pixels())
    (folder / "y.fits").symlink_to(folder / "nowhere.fits")


SKY = fits.ImageHDU(pixels(), header())
FITS = {
    "plain stamp": (one(pixels(), header()), ".", 1, 0),
    "no WCS": (one(pixels()), ".", 1, 0),
    "integers with BZERO": (one(pixels().astype(np.uint16), header()), ".", 1, 0),
    "bytes": (one(pixels().astype(np.uint8), header()), ".", 1, 0),
    "double, FK5 of 1975": (one(pixels().astype(np.float64), header(RADESYS="FK5", EQUINOX=1975.0)), ".", 1, 0),
    "galactic": (one(pixels(), header(30.0, 10.0, ctype=("GLON-TAN", "GLAT-TAN"))), ".", 1, 0),
    "ecliptic": (one(pixels(), header(30.0, 10.0, ctype=("ELON-TAN", "ELAT-TAN"))), ".", 1, 0),
    "solar": (one(pixels(), header(0.0, 0.0, ctype=("HPLN-TAN", "HPLT-TAN"))), ".", None, None),
    "unknown frame": (one(pixels(), header(RADESYS="J2000")), ".", None, None),
    "all NaN": (one(np.full((24, 28), np.nan, np.float32), header()), ".", 0, 1),
    "cube with names": (one(np.stack([pixels(k) for k in range(3)]), header(BANDS="grz")), ".", 1, 0),
    "cube without": (one(np.stack([pixels(k) for k in range(3)]), header()), ".", None, None),
    "a fourth axis of length one": (one(pixels()[None, None], header()), ".", 1, 0),
    "one axis": (one(pixels()[0]), ".", None, None),
    "a table": (several(fits.BinTableHDU.from_columns([fits.Column("a", "D", array=[1.0])])), ".", None, None),
    "tile-compressed": (several(fits.CompImageHDU(pixels(), header())), ".", 1, 0),
    "weight beside science": (
        several(fits.ImageHDU(pixels(), header(), name="SCI"), fits.ImageHDU(pixels(1), header(), name="WHT")),
        ".",
        1,
        0,
    ),
    "mask in a file called mask": (
        several(
            fits.ImageHDU(pixels(), header(), name="SCI"),
            fits.ImageHDU(np.zeros((9, 9), np.int16), name="DQ"),
            name="mask.fits",
        ),
        ".",
        1,
        0,
    ),
    "magnitudes": (one(pixels(), header(BUNIT="mag")), ".", None, None),
    "a star called sigma": (one(pixels(), header(), "sigma_Ori.fits"), ".", 1, 0),
    "extensions on one grid": (
        several(fits.ImageHDU(pixels(), name="A"), fits.ImageHDU(pixels(1), name="B")),
        ".",
        None,
        None,
    ),
    "empty file": (raw("x.fits", b""), ".", None, None),
    "no FITS": (raw("x.fits", b"hello" * 1000), ".", None, None),
    "cut short": (raw("x.fits", fits_bytes()[:-2880]), ".", 0, 1),
    "zip": (zip_of, "x.zip", 2, 0),
    "tar": (tar_of, "x.tar.bz2", 1, 0),
    "link to nothing": (linked, ".", 1, 0),
}


def picture(mode, suffix, **how):
    def write(folder):
        values = np.random.default_rng(0).integers(0, 255, (20, 20, 4), np.uint8)
        Image.fromarray(values).convert("RGB").convert(mode).save(folder / f"x{suffix}", **how)

    return write


def encoded_in_hdf5(folder):
    buffer = io.BytesIO()
    Image.new("RGB", (20, 20), "red").save(buffer, "JPEG")
    with h5py.File(folder / "x.h5", "w") as file:
        data = file.create_dataset("images", 3, h5py.vlen_dtype(np.uint8))
        for k in range(3):
            data[k] = np.frombuffer(buffer.getvalue(), np.uint8)


def pages(folder):
    first, second = Image.new("L", (20, 20)), Image.new("L", (20, 20), 9)
    first.save(folder / "x.tif", save_all=True, append_images=[second])


PICTURES = {
    "png": (picture("RGB", ".png"), ".", 1, 0),
    "palette": (picture("P", ".png"), ".", 1, 0),
    "black and white": (picture("1", ".png"), ".", 1, 0),
    "cmyk": (picture("CMYK", ".jpg"), ".", 1, 0),
    "grey jpeg called png": (picture("L", ".png", format="JPEG"), ".", 1, 0),
    "webp": (picture("RGB", ".webp"), ".", 1, 0),
    "gif": (picture("P", ".gif"), ".", 1, 0),
    "bmp": (picture("RGB", ".bmp"), ".", 1, 0),
    "jpeg 2000": (picture("RGB", ".jp2"), ".", 1, 0),
    "float tiff": (picture("F", ".tif"), ".", None, None),
    "pages": (pages, ".", 0, 1),
    "text called jpg": (raw("x.jpg", b"hello"), ".", None, None),
    "hdf5 of jpeg": (encoded_in_hdf5, "x.h5", 3, 0),
    "only an avif": (raw("x.avif", b"\x00\x00\x00\x1cftypavif"), ".", None, None),
}
