"""FITS in archives, at addresses and in ASDF: the same pixels and positions as in the plain files."""

import gzip
import io
import os
import tarfile
import zipfile

import asdf
import astropy.units as u
import gwcs
import numpy as np
import pytest
from astropy.coordinates import ICRS, SkyCoord
from astropy.io import fits
from astropy.modeling import models
from astropy.nddata import Cutout2D
from astropy.table import Table
from astropy.wcs import WCS
from gwcs import coordinate_frames

from astroanomaly import UnreadableError, ingest
from servers.base import NOT_FOUND, Answer, Server
from servers.s3 import BUCKET, S3

SHAPE = (400, 500)
PIXELS = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
X, Y = np.array([50.2, 250.7, 420.4]), np.array([60.3, 200.6, 333.7])


def sky_wcs():
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], [150, 2], [250, 200]
    wcs.wcs.cd = np.array([[-1, 0], [0, 1]]) * 0.11 / 3600
    return wcs


WCS_OF_ALL = sky_wcs()


def content_of(hdu):
    buffer = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), hdu] if isinstance(hdu, fits.CompImageHDU) else [hdu]).writeto(buffer)
    return buffer.getvalue()


PLAIN = content_of(fits.PrimaryHDU(PIXELS, WCS_OF_ALL.to_header()))


def catalog(tmp_path, wcs=WCS_OF_ALL):
    sky = wcs.pixel_to_world(X, Y)
    Table({"id": ["a", "b", "c"], "ra": sky.ra.deg, "dec": sky.dec.deg}).write(tmp_path / "cat.csv", overwrite=True)
    return tmp_path / "cat.csv"


def agrees(cache, pixels=PIXELS):
    for name, x, y in zip("abc", X, Y, strict=True):
        expected = Cutout2D(pixels, (x, y), 32, WCS_OF_ALL)
        np.testing.assert_array_equal(cache[name].data[0], expected.data)
        place = cache[name].wcs.pixel_to_world(3, 5)
        assert place.separation(expected.wcs.pixel_to_world(3, 5)).mas < 1


def write_archive(path, files):
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return
    with tarfile.open(path, "w:" + path.suffix.removeprefix(".tar").removeprefix(".")) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tar.gz", "x.tar.xz"])
def test_archives_of_mosaics_and_of_stamps(tmp_path, name):
    write_archive(
        tmp_path / name, {"a/field_r.fits": PLAIN, "notes.txt": b"x", "../out.fits": PLAIN, "a/.h.fits": PLAIN}
    )
    agrees(ingest("fits", [tmp_path / name], catalog=catalog(tmp_path), size=32, out=tmp_path / "c", workers=1))
    stamps = {f"{k}.fits": content_of(fits.PrimaryHDU(PIXELS[k : k + 20, :20])) for k in range(4)}
    stamps["4.fits.gz"] = gzip.compress(content_of(fits.PrimaryHDU(PIXELS[4:24, :20])))
    write_archive(tmp_path / f"s{name}", {**stamps, "bad.fits": b"no", "notes.txt": b"x"})
    cache = ingest("fits", [tmp_path / f"s{name}"], out=tmp_path / "s", workers=1)
    assert sorted(cache.ids) == sorted(stamps)
    np.testing.assert_array_equal(cache["3.fits"].data[0], PIXELS[3:23, :20])
    assert [failure.object_id for failure in cache.failures] == ["bad.fits"]
    files = cache.facts["files"].value
    assert files == {"found": 7, "used": 5, "failed": 1, "left_out": 1}


def test_damaged_and_exploding_archives_are_refused(tmp_path):
    write_archive(tmp_path / "x.tar.gz", {"a.fits": PLAIN})
    whole = (tmp_path / "x.tar.gz").read_bytes()
    (tmp_path / "cut.tar.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UnreadableError, match="damaged or cut short"):
        ingest("fits", [tmp_path / "cut.tar.gz"], out=tmp_path / "c", workers=1)
    write_archive(tmp_path / "none.zip", {"a.txt": b"x"})
    with pytest.raises(UnreadableError, match="holds no FITS file"):
        ingest("fits", [tmp_path / "none.zip"], out=tmp_path / "c", workers=1)


class Files(Server):
    def __init__(self, contents):
        super().__init__()
        self.contents = contents

    def answer(self, asked):
        return Answer(self.contents[asked.path]) if asked.path in self.contents else NOT_FOUND


def test_of_a_file_in_the_web_only_parts_are_fetched(tmp_path):
    large = content_of(fits.PrimaryHDU(np.vstack([PIXELS] * 30), WCS_OF_ALL.to_header()))  # 24 MB
    packed = content_of(fits.CompImageHDU((PIXELS * 100).astype(np.int16), WCS_OF_ALL.to_header()))
    with Files({"/r.fits": large, "/p.fits.fz": packed}) as server:
        base = server.url
        cache = ingest("fits", [f"{base}/r.fits"], catalog=catalog(tmp_path), size=32, out=tmp_path / "c", workers=1)
        agrees(cache)
        parts = [one.headers["Range"][6:].split("-") for one in server.asked if "Range" in one.headers]
        sent = sum(int(last) - int(first) + 1 for first, last in parts)
        assert 0 < sent < len(large) / 2
        found = ingest("fits", [f"{base}/p.fits.fz"], catalog=catalog(tmp_path), size=32, out=tmp_path / "p", workers=1)
        agrees(found, (PIXELS * 100).astype(np.int16).astype(np.float32))
        with pytest.raises(UnreadableError, match=r"none\.fits cannot be read"):
            ingest("fits", [f"{base}/none.fits"], out=tmp_path / "n", workers=1)


def test_a_file_in_a_bucket(tmp_path, monkeypatch):
    with S3({"maps/r.fits": PLAIN}) as server:
        monkeypatch.setitem(os.environ, "AWS_ENDPOINT_URL_S3", server.url)
        place = f"s3://{BUCKET}/maps/r.fits"
        agrees(ingest("fits", [place], catalog=catalog(tmp_path), size=32, out=tmp_path / "c", workers=1))


def roman(path, distortion=0.0, **more):
    """A file as Roman's are laid out: ``roman.data``, ``roman.meta.wcs``, with a bend of so many pixels at the edge."""
    bend = models.Polynomial2D(2, c1_0=1, c2_0=distortion / 250**2) & models.Polynomial2D(2, c0_1=1)
    shift = models.Shift(-249) & models.Shift(-199)
    scale = models.Scale(-0.11 / 3600) & models.Scale(0.11 / 3600)
    turned = models.Pix2Sky_TAN() | models.RotateNative2Celestial(150, 2, 180)
    detector = coordinate_frames.Frame2D(name="detector", unit=(u.pix, u.pix))
    frame = coordinate_frames.CelestialFrame(reference_frame=ICRS(), unit=(u.deg, u.deg), name="icrs")
    wcs = gwcs.WCS(shift | models.Mapping((0, 1, 0, 1)) | bend | scale | turned, detector, frame)
    wcs.bounding_box = ((-0.5, SHAPE[1] - 0.5), (-0.5, SHAPE[0] - 0.5))
    meta = {"wcs": wcs, "instrument": {"optical_element": "F158"}}
    asdf.AsdfFile({"roman": {"data": PIXELS, "err": PIXELS**2, "meta": meta, **more}}).write_to(path)
    return wcs


@pytest.mark.parametrize("distortion", [0.0, 3.0])
def test_images_of_roman_are_where_their_gwcs_says(tmp_path, distortion):
    wcs = roman(tmp_path / "r.asdf", distortion)
    ra, dec = wcs(X, Y)
    Table({"id": ["a", "b", "c"], "ra": ra, "dec": dec}).write(tmp_path / "cat.csv")
    cache = ingest(
        "fits", [tmp_path / "r.asdf"], catalog=tmp_path / "cat.csv", size=32, out=tmp_path / "c", workers=1,
        auxiliary=("rms",),
    )  # fmt: skip
    assert cache.bands == ("F158",)
    for name, x, y in zip("abc", X, Y, strict=True):
        left, bottom = int(np.ceil(x - 16)), int(np.ceil(y - 16))
        np.testing.assert_array_equal(cache[name].data[0], PIXELS[bottom : bottom + 32, left : left + 32])
        np.testing.assert_array_equal(
            cache.auxiliary_planes(name)["F158:rms"], PIXELS[bottom : bottom + 32, left : left + 32] ** 2
        )
        right = SkyCoord(*wcs(left + 7, bottom + 9), unit="deg")
        assert cache[name].wcs.pixel_to_world(7, 9).separation(right).mas < 1


def test_asdf_that_points_elsewhere_or_holds_no_image_is_refused(tmp_path):
    asdf.AsdfFile({"roman": {"data": np.zeros(3), "meta": {}}}).write_to(tmp_path / "a.asdf")
    with pytest.raises(UnreadableError, match="no image called data"):
        ingest("fits", [tmp_path / "a.asdf"], out=tmp_path / "c", workers=1)
    text = "#ASDF 1.0.0\n#ASDF_STANDARD 1.5.0\n%YAML 1.1\n%TAG ! tag:stsci.edu:asdf/\n--- !core/asdf-1.1.0\n"
    text += "data: !core/ndarray-1.0.0 {source: other.asdf, datatype: float32, byteorder: little, shape: [4, 4]}\n...\n"
    (tmp_path / "b.asdf").write_text(text)
    with pytest.raises(UnreadableError, match=r"points to another file \(other\.asdf\)"):
        ingest("fits", [tmp_path / "b.asdf"], out=tmp_path / "c", workers=1)
