"""The source ``arrays``: the same images from NumPy, HDF5, Zarr and MEDS, and a reason for what is none."""

import json

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr
from astropy.coordinates import SkyCoord
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from astroanomaly import CatalogError, ConfigError, UnreadableError, ingest
from astroanomaly_plugins.arrays.stacks import axes_of

N = 9
FLUX = np.random.default_rng(1).normal(size=(N, 2, 20, 24)).astype(np.float32)
NAMES = [f"obj-{k}" for k in range(N)]
RA, DEC = np.linspace(10, 12, N), np.linspace(-3, 3, N)


def cut(path, out, **options):
    return ingest("arrays", [path], out=out, workers=1, **options)


def write_npz(path):
    np.savez(path, images=np.moveaxis(FLUX, 1, -1), names=NAMES, ra=RA, dec=DEC, z=np.arange(N))


def write_hdf5(path):
    with h5py.File(path, "w") as file:
        group = file.create_group("set")
        group.create_dataset("images", data=FLUX, compression="lzf", chunks=(1, 2, 20, 24))
        group["images"].attrs["bands"] = ["g", "r"]
        group["object_id"], group["ra"], group["dec"] = np.array(NAMES, "S"), RA, DEC
        group["z"] = np.arange(N)


def write_zarr(path, version=3):
    root = zarr.open_group(str(path), mode="w", zarr_format=version)
    root.create_array("images", data=FLUX, chunks=(4, 2, 20, 24))
    for name, values in (("ra", RA), ("dec", DEC), ("z", np.arange(N))):
        root.create_array(name, data=values)
    sidecar = pa.table({"original_filename": NAMES, "ra": RA, "dec": DEC, "z": np.arange(N)})
    pq.write_table(sidecar, path.with_name(f"{path.stem}_metadata.parquet"))


def write_zarr_2(path):
    write_zarr(path, 2)


@pytest.mark.parametrize(
    ("name", "write"), [("x.npz", write_npz), ("x.h5", write_hdf5), ("x.zarr", write_zarr), ("y.zarr", write_zarr_2)]
)
def test_pixels_names_positions_and_columns(tmp_path, name, write):
    write(tmp_path / name)
    cache = cut(tmp_path / name, tmp_path / "c")
    assert sorted(cache.ids) == NAMES
    assert cache.bands == (("g", "r") if name == "x.h5" else ("band1", "band2"))
    for k, object_id in enumerate(NAMES):
        np.testing.assert_array_equal(cache[object_id].data, FLUX[k])
        assert cache[object_id].coord.separation(SkyCoord(RA[k], DEC[k], unit="deg")).mas < 1
        assert int(cache[object_id].columns["z"]) == k


def test_numpy_arrays_are_numbered_and_read_as_they_look(tmp_path):
    pictures = np.random.default_rng(0).integers(0, 255, (5, 16, 18, 3), np.uint8)
    np.save(tmp_path / "a.npy", pictures)
    cache = cut(tmp_path / "a.npy", tmp_path / "c")
    assert (cache.bands, cache.layout.pixel_kind) == (("R", "G", "B"), "display")
    np.testing.assert_array_equal(cache["a/000003"].data, pictures[3].transpose(2, 0, 1))
    cache = cut(tmp_path / "a.npy", tmp_path / "f", kind="flux", size=12, bands=("i", "r", "g"))
    np.testing.assert_array_equal(cache["a/000003"].data, pictures[3, 2:14, 3:15].transpose(2, 0, 1))


def test_each_dataset_may_be_an_image(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for name, image in zip(NAMES, FLUX, strict=True):
            file[f"galaxies/{name}"] = image[0]
    cache = cut(tmp_path / "x.h5", tmp_path / "c")
    np.testing.assert_array_equal(cache["galaxies/obj-4"].data[0], FLUX[4, 0])


def test_each_array_of_an_npz_may_be_an_image(tmp_path):
    np.savez(tmp_path / "x.npz", **dict(zip(NAMES, FLUX[:, 0], strict=True)))
    cache = cut(tmp_path / "x.npz", tmp_path / "c")
    assert sorted(cache.ids) == NAMES
    np.testing.assert_array_equal(cache["obj-4"].data[0], FLUX[4, 0])


def write_meds(path, sides):
    """As `meds.util.get_meds_output_dtype` of esheldon/meds has it; every second object has two epochs more."""
    count = np.where(np.arange(len(sides)) % 2, 1, 3)
    kinds = [("id", "i8"), ("box_size", "i8"), ("ra", "f8"), ("dec", "f8"), ("ncutout", "i8"), ("start_row", "i8", 3)]
    table = np.zeros(len(sides), [*kinds, ("cutout_row", "f8", 3), ("dudcol", "f8", 3)])
    table["id"], table["box_size"], table["ra"], table["dec"] = np.arange(len(sides)) + 1, sides, RA, DEC
    table["ncutout"], table["start_row"], table["dudcol"] = count, -9999, [0.263, 0.27, 0.28]
    rng, parts, first, images = np.random.default_rng(2), [], 0, []
    for row, side in enumerate(sides):
        for epoch in range(count[row]):
            table["start_row"][row, epoch] = first
            pixels = rng.normal(size=(side, side)).astype(np.float32)
            parts.append(pixels.ravel())
            first += side * side
            if not epoch:
                images.append(pixels)
    hdus = [fits.PrimaryHDU(), fits.BinTableHDU(table, name="object_data"), fits.ImageHDU(np.concatenate(parts))]
    hdus[2].name = "image_cutouts"
    fits.HDUList(hdus).writeto(path)
    return images


def test_meds_gives_the_first_cutout_of_each_object(tmp_path):
    sides = np.array([32, 32, 48, 32, 24, 32, 32, 32, 32])
    images = write_meds(tmp_path / "x.fits", sides)
    cache = cut(tmp_path / "x.fits", tmp_path / "c", bands=("r",))
    assert sorted(cache.ids, key=int) == [str(k) for k in range(1, N + 1)]
    np.testing.assert_array_equal(cache["1"].data[0], images[0])
    np.testing.assert_array_equal(cache["3"].data[0], images[2][8:40, 8:40])
    np.testing.assert_array_equal(cache["5"].data[0][4:28, 4:28], images[4])
    assert np.isnan(cache["5"].data[0]).sum() == 32**2 - 24**2
    assert cache["3"].coord.separation(SkyCoord(RA[2], DEC[2], unit="deg")).mas < 1
    assert float(cache["3"].columns["dudcol"]) == 0.263


def test_an_image_without_a_pixel_is_a_failure_and_all_are_counted(tmp_path):
    flux = FLUX[:, 0].copy()
    flux[3] = np.nan
    np.save(tmp_path / "a.npy", flux)
    (tmp_path / "notes.txt").write_text("x")
    cache = cut(tmp_path, tmp_path / "c")
    assert (len(cache), [failure.object_id for failure in cache.failures]) == (N - 1, ["a/000003"])
    files = cache.facts["files"].value
    assert files == {"found": 2, "used": 1, "failed": 0, "left_out": 1}


@settings(max_examples=60)
@given(st.sampled_from(["nchw", "nhwc"]), st.integers(1, 6), st.integers(8, 40), st.integers(8, 40))
def test_the_channels_are_found_wherever_they_are(order, bands, height, width):
    shape = (5, bands, height, width) if order == "nchw" else (5, height, width, bands)
    assert axes_of(shape, "auto", "x") == (order, (5, bands, height, width))


def no_objects(path):
    np.save(path / "o.npy", np.array([{}, {}], object), allow_pickle=True)
    return "o.npy"


def complex_numbers(path):
    np.save(path / "o.npy", FLUX[:, 0] * 1j)
    return "o.npy"


def no_images(path):
    np.savez(path / "o.npz", a=np.zeros(3))
    return "o.npz"


def pickled_zarr(path):
    write_zarr(path / "o.zarr", 2)
    head = path / "o.zarr" / "images" / ".zarray"
    content = json.loads(head.read_text())
    content["filters"] = [{"id": "pickle", "protocol": 5}]
    head.write_text(json.dumps(content))
    return "o.zarr"


def cut_hdf5(path):
    write_hdf5(path / "o.h5")
    (path / "o.h5").write_bytes((path / "o.h5").read_bytes()[:-3000])
    return "o.h5"


def two_arrays(path):
    np.savez(path / "o.npz", a=FLUX[:, 0], b=FLUX[:, 1])
    return "o.npz"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (no_objects, "cannot be read as NumPy: .*Python objects"),
        (complex_numbers, "holds complex64, expected real numbers"),
        (no_images, "no array of images"),
        (pickled_zarr, "names the codec 'pickle'"),
        (cut_hdf5, "cut short"),
        (two_arrays, r"several arrays of images .* a \(9, 20, 24\), b .*--array"),
    ],
)
def test_what_is_no_stack_is_refused(tmp_path, make, message):
    with pytest.raises(UnreadableError, match=message):
        cut(tmp_path / make(tmp_path), tmp_path / "c")


def test_stacks_that_do_not_fit_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", images=FLUX, names=NAMES)
    np.savez(tmp_path / "b.npz", images=FLUX[:, :1], names=NAMES)
    with pytest.raises(ConfigError, match=r"1 channels .*2"):
        ingest("arrays", [tmp_path / "a.npz", tmp_path / "b.npz"], out=tmp_path / "c", workers=1)
    np.savez(tmp_path / "b.npz", images=FLUX, names=NAMES)
    with pytest.raises(CatalogError, match=r"two images have the id 'obj-0': .*a\.npz.* and .*b\.npz.* --prefix"):
        ingest("arrays", [tmp_path / "a.npz", tmp_path / "b.npz"], out=tmp_path / "c", workers=1)
    np.savez(tmp_path / "b.npz", images=FLUX, names=["n"] * N)
    with pytest.raises(CatalogError, match=r"b\.npz.*: 9 images are called 'n'"):
        cut(tmp_path / "b.npz", tmp_path / "c")
    np.save(tmp_path / "d.npy", FLUX)
    with pytest.raises(CatalogError, match=r"d\.npy is given twice"):
        ingest("arrays", [tmp_path / "d.npy", tmp_path / "d.npy"], out=tmp_path / "c", workers=1)
    (tmp_path / "x.png").write_bytes(b"\x89PNG")
    with pytest.raises(UnreadableError, match=r"no stack of arrays.*ingest images"):
        cut(tmp_path / "x.png", tmp_path / "c")


def test_files_of_one_name_are_told_apart_by_their_folders(tmp_path):
    for run in ("run1", "run2"):
        (tmp_path / run).mkdir()
    np.save(tmp_path / "run1" / "cut.npy", FLUX[:2])
    np.save(tmp_path / "run2" / "cut.npy", FLUX[2:4])
    np.savez(tmp_path / "run2" / "cut.npz", images=FLUX[4:5])
    np.save(tmp_path / "run2" / "other.npy", FLUX[5:6])
    cache = cut(tmp_path, tmp_path / "c")
    at = {"run1/cut/000000": 0, "run1/cut/000001": 1, "run2/cut.npy/000000": 2, "run2/cut.npy/000001": 3}
    at |= {"run2/cut.npz/000000": 4, "other/000000": 5}
    assert sorted(cache.ids) == sorted(at)
    for name, number in at.items():
        assert np.array_equal(cache[name].data, FLUX[number])


def test_soft_links_inside_an_hdf5_file_are_followed(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["raw/run_07"], file["raw/dark"] = FLUX, np.zeros((3, 4, 5), np.float32)
        file["tables/c1"], file["tables/c2"], file["tables/c3"] = np.array(NAMES, "S"), RA, DEC
        for link, place in (("images", "/raw/run_07"), ("object_id", "/tables/c1"), ("ra", "/tables/c2")):
            file[link] = h5py.SoftLink(place)
        file["set/dec"], file["set/latest"] = h5py.SoftLink("/tables/c3"), h5py.SoftLink("/images")
        file["nowhere"], file["round"] = h5py.SoftLink("/gone"), h5py.SoftLink("/round")
    for number, options in enumerate(({}, {"array": "images"}, {"array": "raw/run_07"}, {"array": "set/latest"})):
        cache = cut(tmp_path / "x.h5", tmp_path / f"c{number}", **options)
        assert sorted(cache.ids) == NAMES
        assert np.array_equal(cache["obj-3"].data, FLUX[3])
        assert cache["obj-3"].coord.separation(SkyCoord(RA[3], DEC[3], unit="deg")).mas < 1
    with h5py.File(tmp_path / "x.h5", "a") as file:
        file["set/outside"] = h5py.ExternalLink("/etc/hostname", "x")
    with pytest.raises(UnreadableError, match="/set/outside: is a link to another file"):
        cut(tmp_path / "x.h5", tmp_path / "d")


def test_arrays_that_are_not_taken_are_named(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["images"], file["masks"], file["z"], file["x"] = FLUX, FLUX > 0, np.arange(N), np.arange(24)
    np.savez(tmp_path / "y.npz", images=FLUX, masks=FLUX > 0, z=np.arange(N), psf=np.ones((5, 5)))
    for name, unused in (("x.h5", ["x.h5[masks]", "x.h5[x]"]), ("y.npz", ["y.npz[masks]", "y.npz[psf]"])):
        cache = cut(tmp_path / name, tmp_path / f"c-{name}", array="images")
        reasons = cache.facts["left out"].value["reasons"]
        assert reasons == {"array that is neither the images nor one value for each": {"number": 2, "first": unused}}
        assert "z" in cache.table().colnames
