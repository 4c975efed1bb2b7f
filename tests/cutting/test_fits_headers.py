"""Headers that cannot be are refused before a library acts on them; those that libraries write pass."""

import bz2
import gzip
import io
import lzma

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from astroanomaly import ReadLimits, UnreadableError
from astroanomaly.cutting import check_fits, check_fits_content, open_fits, quiet
from astroanomaly.parallel import limits
from astroanomaly.parallel.limits import limited
from astroanomaly.parallel.watched import Watch

PRIMARY = {"SIMPLE": "T", "BITPIX": "8", "NAXIS": "0"}
TABLE = {
    "XTENSION": "'BINTABLE'",
    "BITPIX": "8",
    "NAXIS": "2",
    "NAXIS1": "8",
    "NAXIS2": "4",
    "PCOUNT": "0",
    "GCOUNT": "1",
}
TABLE |= {"TFIELDS": "1", "TFORM1": "'1PB(9)'"}
TILES = TABLE | {"ZIMAGE": "T", "ZBITPIX": "16", "ZNAXIS": "2", "ZNAXIS1": "64", "ZNAXIS2": "4", "ZCMPTYPE": "'RICE_1'"}


def block(cards, *, end=True):
    lines = [f"{name:8s}= {value:>20}".ljust(80) for name, value in cards.items()]
    text = "".join([*lines, "END".ljust(80)] if end else lines)
    return text.encode().ljust(-(-len(text) // 2880) * 2880)


def image(**cards):
    return block({"SIMPLE": "T", "BITPIX": "-32", "NAXIS": "2", "NAXIS1": "8", "NAXIS2": "4"} | cards)


def with_table(**cards):
    return block(PRIMARY) + block(TABLE | cards) + bytes(2880)


def with_tiles(**cards):
    return block(PRIMARY) + block(TILES | cards) + bytes(2880)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it is empty"),
        (b"PK is no header".ljust(2880), "does not begin as a FITS file"),
        (image(NAXIS1="-8"), "NAXIS1 is -8"),
        (image(NAXIS="99999999999"), "NAXIS is 99999999999; expected at most 999"),
        (image(NAXIS="3"), "lacks NAXIS3"),
        (image(NAXIS2="4.0"), "NAXIS2 is '4.0'; expected a whole number"),
        (image(NAXIS2="1" * 60), "NAXIS2 is"),
        (image(NAXIS1="100000000", NAXIS2="100000000"), "more than 50 gigapixels"),
        (image(BITPIX="12"), "BITPIX is 12"),
        (image(PCOUNT="-1"), "PCOUNT is -1"),
        (image(GCOUNT="0"), "GCOUNT is 0"),
        (image(**{"HIERARCH NAXIS1": "-8"}), "NAXIS1 twice with different values"),
        (image().replace(b"NAXIS2  = ", b"naxis2  =-"), "expected"),
        (block(PRIMARY, end=False), "has no END"),
        (block(PRIMARY) + block({"XTENSION": "'IMAGE'"}), "header 1 lacks BITPIX"),
        (with_table(TFIELDS="100000000"), "at most 999 columns"),
        (with_table(TFIELDS="-1"), "TFIELDS is -1"),
        (with_table(NAXIS="1"), "expected 8 and 2"),
        (with_table(THEAP="9999"), "THEAP is 9999, behind the end"),
        (with_tiles(ZNAXIS1="-64"), "ZNAXIS1 is -64"),
        (with_tiles(ZNAXIS="2000"), "ZNAXIS is 2000"),
        (with_tiles(ZTILE1="0"), "ZTILE1 is 0"),
        (with_tiles(ZNAXIS2="5"), "make 5 tiles, the table has 4 rows"),
        (with_tiles(ZNAXIS1="4000000000"), "an image of 32 GB is stored in 32 bytes"),
        (with_tiles(ZTILE1="4000000000"), "a tile of 8 GB is stored in 32 bytes"),
        (with_tiles(ZBITPIX="5"), "ZBITPIX is 5"),
        (with_tiles(ZIMAGE="'1QB(9)'", ZNAXIS2="-9223372036854775808"), "ZIMAGE is \"'1QB(9)'\"; expected T or F"),
    ],
)
def test_headers_that_cannot_be_are_refused(tmp_path, content, words):
    path = tmp_path / "x.fits"
    path.write_bytes(content)
    with pytest.raises(UnreadableError) as refused:
        check_fits(path)
    assert words in str(refused.value)
    assert str(refused.value).startswith(f"{path} cannot be read as FITS: ")
    with pytest.raises(UnreadableError, match=r"^the grid cannot be read as FITS: "):
        check_fits_content(content, "the grid")
    packed = tmp_path / "x.fits.gz"
    packed.write_bytes(gzip.compress(content))
    with pytest.raises(UnreadableError), open_fits(packed):
        pytest.fail("it was opened")


def test_a_header_and_a_file_end_somewhere(tmp_path, monkeypatch):
    path = tmp_path / "x.fits"
    path.write_bytes(block(PRIMARY, end=False) + b"HISTORY".ljust(80) * 36 * 3000)
    with pytest.raises(UnreadableError, match="more than 100000 cards"):
        check_fits(path)
    monkeypatch.setattr(limits, "FITS_HDUS", 5)
    path.write_bytes(block(PRIMARY) + block({"XTENSION": "'IMAGE'", "BITPIX": "8", "NAXIS": "0"}) * 6)
    with pytest.raises(UnreadableError, match="more than 5 images and tables"):
        check_fits(path)


def written(*hdus):
    file = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(file)
    return file.getvalue()


def examples():
    pixels = np.arange(40 * 30, dtype=np.int32).reshape(40, 30)
    cube = fits.ImageHDU(np.zeros((2, 1, 3), np.int16))
    table = fits.BinTableHDU.from_columns(
        [fits.Column("a", "D", array=np.ones(3)), fits.Column("v", "PJ()", array=np.array([[1], [2, 3], []], object))]
    )
    text = fits.TableHDU.from_columns([fits.Column("a", "A4", array=np.array(["x", "yy"]))])
    kinds = ("RICE_1", "GZIP_1", "GZIP_2", "HCOMPRESS_1", "PLIO_1")
    tiles = [fits.CompImageHDU(pixels, compression_type=kind, tile_shape=(8, 30)) for kind in kinds]
    return written(cube, table, text, *tiles)


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_what_astropy_writes_passes(tmp_path, pack):
    path = tmp_path / "x.fits"
    path.write_bytes(pack(examples()))
    with open_fits(path) as hdus:
        assert len(hdus) == 9


def test_what_follows_the_last_image_is_nobodys_business(tmp_path):
    path = tmp_path / "x.fits"
    path.write_bytes(image() + bytes(2880) + b"not a header".ljust(5000))
    check_fits(path)


def test_a_file_that_changed_is_checked_again(tmp_path):
    path = tmp_path / "x.fits"
    path.write_bytes(examples())
    check_fits(path)
    path.write_bytes(image(NAXIS1="-8"))
    with pytest.raises(UnreadableError):
        check_fits(path)


def test_a_large_mosaic_is_a_matter_of_an_option(tmp_path):
    path = tmp_path / "x.fits"
    path.write_bytes(image(NAXIS1="300000", NAXIS2="300000"))
    with pytest.raises(UnreadableError, match="--image-gigapixels"):
        check_fits(path)
    with limited(ReadLimits(image_gigapixels=100)):
        check_fits(path)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_a_compressed_file_does_not_grow_without_end(tmp_path, monkeypatch, pack):
    path = tmp_path / "x.fits"
    path.write_bytes(pack(image(BITPIX="8", NAXIS1="10000", NAXIS2="1000") + bytes(10**7)))
    check_fits(path)
    monkeypatch.setattr(limits, "FREE_EXPANSION_BYTES", 10**6)
    with limited(ReadLimits(expansion=20)), pytest.raises(UnreadableError, match="--expansion"):
        check_fits(path)


KEYS = ("NAXIS", "NAXIS1", "NAXIS2", "BITPIX", "PCOUNT", "GCOUNT", "TFIELDS", "ZNAXIS1", "ZTILE2", "ZBITPIX")
VALUES = ("0", "-1", "7", "999", "4294967296", "9223372036854775807", "1e308", "'x'", "T", "")


def read_all(path):
    try:
        with quiet(), open_fits(path) as hdus:
            return [None if hdu.data is None else len(hdu.data) for hdu in hdus]
    except Exception as error:  # noqa: BLE001 - astropy raises anything
        return str(error)


@settings(max_examples=25)
@given(st.lists(st.tuples(st.sampled_from(KEYS), st.sampled_from(VALUES), st.integers(0, 9)), min_size=1, max_size=3))
def test_no_number_in_a_header_hangs_or_crashes_who_reads_it(tmp_path_factory, changes):
    content = examples()
    for key, value, skip in changes:
        places = [k for k in range(0, len(content), 80) if content[k : k + 9] == key.ljust(8).encode() + b"="]
        place = places[skip % len(places)]
        content = content[:place] + f"{key:8s}= {value:>20}".ljust(80).encode() + content[place + 80 :]
    path = tmp_path_factory.mktemp("headers") / "x.fits"
    path.write_bytes(content)
    watch = Watch()
    with limited(ReadLimits(file_seconds=60)):
        watch.call(read_all, path)
    assert not watch.barred
