"""The source ``images``: the same pixels from wherever they lie, one stated rule, and a reason for every failure."""

import contextlib
import csv
import io
import os
import pickle
import re
import struct
import tarfile
import tracemalloc
import warnings
import zipfile
import zlib

import numpy as np
import PIL
import pytest
import tifffile
from astropy.coordinates import SkyCoord
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.version import Version
from PIL import Image, ImageFile

from astroanomaly import (
    CatalogError,
    ConfigError,
    Failure,
    ReadLimits,
    Request,
    Task,
    UnreadableError,
    ingest,
    typed_column,
)
from astroanomaly.plugins import load_plugins
from astroanomaly_plugins.images.files import list_input
from astroanomaly_plugins.images.pixels import PictureError, PixelRule, decode, quiet
from astroanomaly_plugins.images.source import PictureOptions, PictureSource
from astroanomaly_plugins.images.table import match_rows, read_table

SIDES, FRAMES = st.integers(1, 90), st.integers(8, 40)

# ---------------------------------------------------------------------------------------------------------- helpers


def encoded(picture, suffix="PNG", **options):
    """Bytes of a picture file, from an array or a Pillow image."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    buffer = io.BytesIO()
    image.save(buffer, suffix, **options)
    return buffer.getvalue()


def noise(height=20, width=20, bands=3, seed=0, dtype=np.uint8):
    shape = (height, width, bands) if bands > 1 else (height, width)
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def files_of(count=7):
    """Small folder of pictures in several formats, as name -> bytes."""
    kinds = [("png", "PNG"), ("jpg", "JPEG"), ("tif", "TIFF")]
    return {
        f"{'deep/er/' if number % 2 else ''}p{number}.{kinds[number % 3][0]}": encoded(
            noise(seed=number), kinds[number % 3][1]
        )
        for number in range(count)
    }


def as_folder(path, files):
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def as_zip(path, files, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def as_tar(path, files, mode="w"):
    with tarfile.open(path, mode) as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def drain(*inputs, source=None, **options):
    """Plan and read everything: ``{id: pixels}``, ``{id: reason}``, blocks, plan."""
    source = source or PictureSource()
    plan = source.plan(Request(tuple(map(str, inputs))), PictureOptions(**options))
    pixels, reasons, blocks = {}, {}, []
    for task in plan:
        for item in source.read(task):
            if isinstance(item, Failure):
                reasons[item.object_id] = item.reason
                continue
            assert item.images.dtype == plan.layout.dtype
            assert item.images.shape[1:] == (len(plan.layout.bands), plan.layout.height, plan.layout.width)
            blocks.append(item)
            pixels.update(zip(item.ids, item.images, strict=True))
    return pixels, reasons, blocks, plan


def column(blocks, name):
    return {
        object_id: value for block in blocks for object_id, value in zip(block.ids, block.columns[name], strict=True)
    }


def same(one, other):
    return one.keys() == other.keys() and all(np.array_equal(one[key], other[key], equal_nan=True) for key in one)


# ------------------------------------------------------------------------------------------------------- containers


def test_every_container_gives_the_same_pixels(tmp_path):
    files = files_of(9)
    expected, reasons, _, plan = drain(as_folder(tmp_path / "folder", files))
    assert expected.keys() == files.keys()
    assert not reasons
    assert plan.layout.bands == ("R", "G", "B")
    for name, data in files.items():
        assert np.array_equal(expected[name], np.asarray(Image.open(io.BytesIO(data))).transpose(2, 0, 1))
    containers = [
        as_zip(tmp_path / "stored.zip", files),
        as_zip(tmp_path / "deflated.zip", files, zipfile.ZIP_DEFLATED),
        as_zip(tmp_path / "lzma.zip", files, zipfile.ZIP_LZMA),
        as_tar(tmp_path / "plain.tar", files),
        as_tar(tmp_path / "packed.tar.gz", files, "w:gz"),
        as_tar(tmp_path / "packed.tar.bz2", files, "w:bz2"),
        as_tar(tmp_path / "packed.tar.xz", files, "w:xz"),
    ]
    for container in containers:
        found, reasons, _, _ = drain(container)
        assert same(found, expected), container
        assert not reasons


def test_tasks_survive_storage_splitting_and_any_order(tmp_path, monkeypatch):
    monkeypatch.setattr("astroanomaly_plugins.images.source._PICTURES_PER_TASK", 4)
    files = files_of(11)
    expected = drain(as_folder(tmp_path / "f", files))[0]
    for container in (tmp_path / "f", as_zip(tmp_path / "a.zip", files), as_tar(tmp_path / "a.tar.gz", files, "w:gz")):
        source = PictureSource()
        request = Request((str(container),))
        tasks = list(source.plan(request, PictureOptions()))
        assert [task.key for task in tasks] == [task.key for task in source.plan(request, PictureOptions())]
        assert [len(task) for task in tasks] == [4, 4, 3]
        parts = [part for task in tasks for part in task.split(3)]
        plain = [Task(p.key, p.payload, {n: np.array(v.tolist()) for n, v in p.table.items()}) for p in parts]
        found = {}
        for task in reversed(plain):
            for block in pickle.loads(pickle.dumps(source)).read(task):
                found.update(zip(block.ids, block.images, strict=True))
        for task in plain:  # in order, with the stream of a compressed tar kept open between tasks
            for block in source.read(task):
                assert all(np.array_equal(found[i], image) for i, image in zip(block.ids, block.images, strict=True))
        assert same(found, expected)


def test_compressed_tar_is_decompressed_once_for_all_tasks(tmp_path, monkeypatch):
    monkeypatch.setattr("astroanomaly_plugins.images.source._PICTURES_PER_TASK", 2)
    archive = as_tar(tmp_path / "a.tar.gz", files_of(12), "w:gz")
    source = PictureSource()
    tasks = list(source.plan(Request((str(archive),)), PictureOptions()))
    opened = []
    from astroanomaly_plugins.images import members as picture_members

    real = picture_members.open_stream
    monkeypatch.setattr(picture_members, "open_stream", lambda container: opened.append(container) or real(container))
    assert sum(len(block) for task in tasks for block in source.read(task)) == 12
    assert len(opened) == 1


def test_single_files_and_several_inputs(tmp_path):
    folder = as_folder(tmp_path / "f", files_of(3))
    single = tmp_path / "one.PNG"
    single.write_bytes(encoded(noise(seed=50)))
    other = tmp_path / "two.jpeg"
    other.write_bytes(encoded(noise(seed=51), "JPEG"))
    pixels, _, _, plan = drain(folder, single, other, as_zip(tmp_path / "z.zip", {"z/z.png": encoded(noise(seed=52))}))
    assert set(pixels) == {*files_of(3), "one.PNG", "two.jpeg", "z/z.png"}
    assert np.array_equal(pixels["one.PNG"], noise(seed=50).transpose(2, 0, 1))
    assert len(list(PictureSource().plan(Request((str(single), str(other))), PictureOptions()))) == 1
    assert plan.layout.pixel_kind == "display"


def test_hidden_files_and_other_files_are_left_out(tmp_path):
    files = {
        "a.png": encoded(noise()),
        ".b.png": b"x",
        "__MACOSX/._a.png": b"x",
        ".git/c.png": b"x",
        "notes.txt": b"x",
        "d/.thumbs/e.png": b"x",
    }
    for container in (
        as_folder(tmp_path / "f", files),
        as_zip(tmp_path / "a.zip", files),
        as_tar(tmp_path / "a.tar", files),
    ):
        pixels, reasons, _, _ = drain(container)
        assert list(pixels) == ["a.png"]
        assert not reasons


def test_links_in_folders_and_tars_lead_nowhere(tmp_path):
    folder = as_folder(tmp_path / "f", {"a.png": encoded(noise())})
    (folder / "round").symlink_to(folder)
    (folder / "dead.png").symlink_to(tmp_path / "nothing")
    assert list(drain(folder)[0]) == ["a.png"]
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(folder / "a.png", "a.png")
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
            member = tarfile.TarInfo(f"link{kind.decode()}.png")
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
    assert list(drain(tmp_path / "a.tar")[0]) == ["a.png"]


def test_the_last_of_two_members_with_one_name_counts(tmp_path):
    first, second = encoded(noise(seed=1)), encoded(noise(seed=2))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.png", first)
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a.png", second)
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for data in (first, second):
            member = tarfile.TarInfo("a.png")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    for name in ("a.zip", "a.tar"):
        assert np.array_equal(drain(tmp_path / name)[0]["a.png"], noise(seed=2).transpose(2, 0, 1))


@given(st.text(alphabet="ab./\\:\n\x01é", min_size=1, max_size=14))
@settings(max_examples=60, deadline=None)
def test_hostile_names_become_safe_relative_ids(tmp_path_factory, text):
    folder = tmp_path_factory.mktemp("names")
    files = {f"{text}/../x.png": encoded(noise(8, 8)), "anchor.png": encoded(noise(8, 8))}
    for container in (as_zip(folder / "a.zip", files), as_tar(folder / "a.tar", files)):
        try:
            ids = set(drain(container)[0])
        except CatalogError:  # cleaned to the id of another picture
            continue
        finally:
            assert sorted(item.name for item in folder.iterdir()) in (["a.tar", "a.zip"], ["a.zip"])
        for object_id in ids:
            parts = object_id.split("/")
            assert not {"", ".", ".."} & set(parts)
            assert object_id.isprintable()
            object_id.encode()


def test_clashing_ids_are_an_error_that_names_the_id(tmp_path):
    one, two = (as_folder(tmp_path / name, {"sub/a.png": encoded(noise())}) for name in "xy")
    with pytest.raises(CatalogError, match=r"id 'sub/a.png'.*x.*y"):
        drain(one, two)
    with pytest.raises(CatalogError, match=r"id 'a.png'"):
        drain(as_zip(tmp_path / "a.zip", {"a.png": b"1", "../a.png": b"2"}))


def test_names_that_are_no_utf8(tmp_path):
    (tmp_path / "f").mkdir()
    name = os.fsdecode(b"caf\xe9.png")
    try:
        (tmp_path / "f" / name).write_bytes(encoded(noise()))
    except OSError:
        pytest.skip("this file system refuses names that are no UTF-8")
    assert list(drain(tmp_path / "f")[0]) == ["caf%E9.png"]
    assert list(drain(as_tar(tmp_path / "a.tar", {name: encoded(noise())}))[0]) == ["caf%E9.png"]


# -------------------------------------------------------------------------------------------------------- bad input


def test_missing_and_pointless_inputs(tmp_path):
    with pytest.raises(UnreadableError, match="does not exist"):
        drain(tmp_path / "nothing")
    with pytest.raises(UnreadableError, match="no pictures were given"):
        drain()
    folder = as_folder(tmp_path / "f", {"a.fits": b"x", "b.fits": b"x", "c.csv": b"a"})
    with pytest.raises(UnreadableError, match=r"looked for \.png .*found 2 \.fits, 1 \.csv; for FITS.*ingest fits"):
        drain(folder)
    with pytest.raises(UnreadableError, match="neither a picture"):
        drain(folder / "c.csv")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.png").write_bytes(b"text")
    with pytest.raises(UnreadableError, match=r"none of the 1 pictures .* text"):
        drain(tmp_path / "bad")


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tar.bz2", "a.tar.xz"])
def test_damaged_archives_are_refused_as_a_whole(tmp_path, name):
    files = files_of(9)
    if name == "a.zip":
        as_zip(tmp_path / name, files)
    else:
        as_tar(tmp_path / name, files, "w:" + name.partition(".tar")[2].lstrip("."))
    whole = (tmp_path / name).read_bytes()
    for part in (len(whole) // 3, len(whole) // 2, 600):
        (tmp_path / name).write_bytes(whole[:part])
        with pytest.raises(UnreadableError, match=r"a\.(zip|tar).* (damaged|cut short)"):
            drain(tmp_path / name)
    (tmp_path / name).write_bytes(b"this is no archive" * 100)
    with pytest.raises(UnreadableError, match="damaged"):
        drain(tmp_path / name)


def test_a_tar_with_a_bad_header_in_the_middle_is_not_taken_for_a_short_one(tmp_path):
    data = encoded(noise())
    as_tar(tmp_path / "a.tar", {f"{n}.png": data for n in range(3)})
    whole = bytearray((tmp_path / "a.tar").read_bytes())
    whole[whole.index(b"1.png") + 10] ^= 0xFF
    (tmp_path / "a.tar").write_bytes(whole)
    with pytest.raises(UnreadableError, match="bad header"):
        drain(tmp_path / "a.tar")


def test_encrypted_zip_is_an_error_that_names_it(tmp_path):
    as_zip(tmp_path / "secret.zip", {"a.png": encoded(noise())})
    data = bytearray((tmp_path / "secret.zip").read_bytes())
    data[data.index(b"PK\x03\x04") + 6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "secret.zip").write_bytes(data)
    with pytest.raises(UnreadableError, match=r"secret\.zip is encrypted"):
        drain(tmp_path / "secret.zip")


def test_an_archive_that_changed_after_planning_is_an_error(tmp_path):
    archive = as_zip(tmp_path / "a.zip", files_of(3))
    source = PictureSource()
    (task,) = source.plan(Request((str(archive),)), PictureOptions())
    as_zip(archive, files_of(4))
    with pytest.raises(UnreadableError, match="changed"):
        list(source.read(task))
    archive.unlink()
    with pytest.raises(UnreadableError, match=r"a\.zip cannot be read"):
        list(source.read(task))


def test_bad_members_fail_alone_with_a_reason(tmp_path):
    good = encoded(noise())
    huge = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + huge + struct.pack(">I", zlib.crc32(b"IHDR" + huge))
    bad = {
        "bomb.png": (bomb + good[33:], "60000 x 60000 pixels|more pixels than Pillow"),
        "empty.png": (b"", "empty"),
        "cut.png": (good[:-400], "cut short"),
        "cut.jpg": (encoded(noise(64, 64), "JPEG")[:-900], "cut short"),
        "text.jpg": (b"not a picture at all", "it is text"),
        "page.png": (b"\0\1\2\3", "unknown format"),
        "photoshop.jpg": (b"8BPS" + bytes(40), "it is a Photoshop file"),
        "stars.tif": (b"SIMPLE  =                    T" * 10, "FITS"),
        "header.png": (b"\x89PNG\r\n\x1a\nrubbish", "begins like a PNG"),
        "large.png": (b"\0" * (2**20 + 1), "larger than 1 MB"),
    }
    files = {**{f"g{n}.png": good for n in range(4)}, **{name: data for name, (data, _) in bad.items()}}
    containers = [
        as_folder(tmp_path / "f", files),
        as_zip(tmp_path / "a.zip", files, zipfile.ZIP_DEFLATED),
        as_tar(tmp_path / "a.tar", files),
    ]
    for container in containers:
        pixels, reasons, _, _ = drain(container, max_file_mb=1)
        assert set(pixels) == {f"g{n}.png" for n in range(4)}
        assert reasons.keys() == bad.keys()
        for name, (_, pattern) in bad.items():
            assert re.search(pattern, reasons[name]), (name, reasons[name])


def test_pixel_limit_holds_before_anything_is_decoded():
    data = encoded(np.zeros((300, 400), np.uint8))
    with pytest.raises(PictureError, match="400 x 300 pixels, more than the 100000 allowed"):
        decode(data, PixelRule("grey", 30, 40, max_pixels=100_000))
    assert decode(data, PixelRule("grey", 30, 40, max_pixels=120_000)).shape == (1, 30, 40)


def test_bombs_neither_warn_nor_change_the_limit_of_pillow(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300)  # 400 pixels: above the limit, below twice the limit
    pixels, reasons, _, _ = drain(as_folder(tmp_path, {"a.png": encoded(noise())}))
    assert list(pixels) == ["a.png"]
    assert not reasons
    assert Image.MAX_IMAGE_PIXELS == 300
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    pixels, reasons, _, _ = drain(tmp_path)
    assert not pixels
    assert "decompression bomb" in reasons["a.png"]


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")  # of zipfile, which writes it
def test_two_members_of_one_name_are_told_and_the_last_counts(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for seed, name in enumerate(("a.png", "b.png", "a.png", "note.txt", "note.txt")):
            archive.writestr(name, encoded(noise(seed=seed)))
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for seed, name in enumerate(("a.png", "b.png", "a.png")):
            content = encoded(noise(seed=seed))
            about = tarfile.TarInfo(name)
            about.size = len(content)
            archive.addfile(about, io.BytesIO(content))
    for path in (tmp_path / "a.zip", tmp_path / "a.tar"):
        pixels, _, _, plan = drain(path)
        assert np.array_equal(pixels["a.png"], noise(seed=2).transpose(2, 0, 1))
        (said,) = [fact for fact in plan.facts if fact.name == "doubled names"]
        assert said.text == "1 name occurs more than once in an archive, and the last one counts: 'a.png'"
        assert said.value == {"number": 1}


def test_a_compressed_archive_does_not_grow_without_end(tmp_path, monkeypatch):
    path = as_tar(tmp_path / "a.tar.gz", {"a.png": encoded(noise()), "b.png": bytes(10**7)}, "w:gz")
    assert len(list_input(path)) == 2
    monkeypatch.setattr("astroanomaly.parallel.limits.FREE_EXPANSION_BYTES", 10**6)
    with pytest.raises(UnreadableError, match="--expansion"):
        list_input(path)


def test_an_archive_has_a_number_of_members(tmp_path, monkeypatch):
    monkeypatch.setattr(ReadLimits, "archive_members", 2)
    for path in (as_tar(tmp_path / "a.tar", files_of(3), "w"), as_zip(tmp_path / "a.zip", files_of(3))):
        with pytest.raises(UnreadableError, match="more than 2 members"):
            list_input(path)


def test_a_zip_member_that_lies_about_its_size_or_content_fails_alone(tmp_path):
    files = {"a.png": encoded(noise(seed=1)), "b.png": encoded(noise(seed=2)), "bomb.png": b"\0" * 10**7}
    as_zip(tmp_path / "a.zip", files, zipfile.ZIP_DEFLATED)
    data = bytearray((tmp_path / "a.zip").read_bytes())
    place = data.rindex(b"bomb.png") - 46
    data[place + 24 : place + 28] = struct.pack("<I", 1000)  # the directory says 1000 bytes
    inside = data.index(b"b.png") + 200
    data[inside] ^= 0xFF
    (tmp_path / "a.zip").write_bytes(data)
    pixels, reasons, _, _ = drain(tmp_path / "a.zip")
    assert list(pixels) == ["a.png"]
    assert all("archive is damaged at this member" in reason for reason in reasons.values())
    assert set(reasons) == {"b.png", "bomb.png"}


PICTURES = {
    "png": encoded(noise(40, 30, seed=3)),
    "jpeg": encoded(noise(40, 30, seed=3), "JPEG"),
    "progressive": encoded(noise(40, 30, seed=3), "JPEG", progressive=True),
    "tiff": encoded(noise(40, 30, seed=3), "TIFF"),
    "lzw": encoded(noise(40, 30, seed=3), "TIFF", compression="tiff_lzw"),
    "sixteen": encoded(noise(40, 30, 1, seed=3, dtype=np.uint16)),
}


@given(st.sampled_from(sorted(PICTURES)), st.floats(0, 1))
@settings(max_examples=150, deadline=None)
def test_a_cut_file_gives_a_failure_or_the_whole_picture_never_a_part(kind, share):
    data = PICTURES[kind]
    rule = PixelRule("rgb", 40, 30)
    with quiet():
        try:
            found = decode(data[: int(share * len(data))], rule)
        except PictureError:
            return
    assert np.array_equal(found, decode(data, rule))


@given(st.sampled_from(["jpeg", "progressive", "png"]), st.floats(0, 1), st.integers(16, 9000))
@settings(max_examples=100, deadline=None)
def test_a_cut_file_filled_up_with_zeros_is_no_half_grey_picture(kind, share, zeros):
    data = PICTURES[kind]
    with quiet(), pytest.raises(PictureError):
        decode(data[: int(share * (len(data) - 20))] + bytes(zeros), PixelRule("rgb", 40, 30))


@given(st.sampled_from(sorted(PICTURES)), st.data())
@settings(max_examples=150, deadline=None)
def test_flipped_bytes_never_escape_as_anything_but_a_failure(kind, draw):
    data = bytearray(PICTURES[kind])
    for _ in range(draw.draw(st.integers(1, 4))):
        limit = draw.draw(st.sampled_from([64, 600, len(data)]))
        data[draw.draw(st.integers(0, min(limit, len(data)) - 1))] = draw.draw(st.integers(0, 255))
    with quiet(), contextlib.suppress(PictureError):
        assert decode(bytes(data), PixelRule("rgb", 16, 16, max_pixels=10**6)).shape == (3, 16, 16)


def test_half_pictures_are_not_let_in_through_the_switch_of_pillow(tmp_path, monkeypatch):
    source = PictureSource()
    (task,) = source.plan(Request((str(as_folder(tmp_path, files_of(2))),)), PictureOptions())
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(ConfigError, match="LOAD_TRUNCATED_IMAGES"):
        list(source.read(task))


# ------------------------------------------------------------------------------------------------- the uniform rule


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["PNG", "JPEG", "TIFF"])
def test_exif_orientation_is_applied(tmp_path, orientation, suffix):
    upright = np.zeros((30, 50, 3), np.uint8)
    upright[:8, :8] = 255  # bright top left corner
    upright[:8, -8:] = (255, 0, 0)
    undo = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(undo[orientation](upright))
    sharp = {"quality": 98, "subsampling": 0} if suffix == "JPEG" else {}
    data = encoded(stored, suffix, exif=exif, **sharp)
    pixels, _, _, plan = drain(as_folder(tmp_path, {f"a.{suffix.lower()}": data}))
    assert (plan.layout.height, plan.layout.width) == (30, 50)
    (found,) = pixels.values()
    assert np.abs(found.transpose(1, 2, 0).astype(int) - upright).max() <= (40 if suffix == "JPEG" else 0)


def test_colour_is_made_uniform(tmp_path):
    grey, colour = noise(bands=1), noise(seed=1)
    greys = as_folder(tmp_path / "g", {"a.png": encoded(grey), "b.tif": encoded(grey, "TIFF")})
    pixels, _, _, plan = drain(greys)
    assert plan.layout.bands == ("I",)
    assert np.array_equal(pixels["a.png"][0], grey)
    pixels, _, _, plan = drain(greys, color="rgb")
    assert np.array_equal(pixels["b.tif"], np.stack([grey] * 3))
    mixed = as_folder(tmp_path / "m", {**{f"{n}.png": encoded(grey) for n in range(5)}, "c.png": encoded(colour)})
    pixels, _, _, plan = drain(mixed)
    assert plan.layout.bands == ("R", "G", "B")
    assert np.array_equal(pixels["c.png"], colour.transpose(2, 0, 1))
    luma = drain(mixed, color="grey")[0]["c.png"][0]
    assert np.abs(luma - colour @ [0.299, 0.587, 0.114]).max() <= 0.51


def test_transparency_is_composed_over_black():
    rgba = noise(bands=4)
    rule = PixelRule("rgb", 20, 20)
    over_black = rgba[..., :3] * (rgba[..., 3:] / 255.0)
    assert np.abs(decode(encoded(rgba), rule).transpose(1, 2, 0) - over_black).max() <= 0.51
    grey_alpha = Image.merge("LA", [Image.fromarray(rgba[..., 0]), Image.fromarray(rgba[..., 3])])
    found = decode(encoded(grey_alpha), PixelRule("grey", 20, 20))
    assert np.abs(found[0] - rgba[..., 0] * (rgba[..., 3] / 255.0)).max() <= 0.51


def test_palettes_and_other_colour_spaces_are_converted(tmp_path):
    smooth = np.stack([*np.meshgrid(np.arange(0, 200, 10), np.arange(0, 200, 10)), np.full((20, 20), 90)], axis=2)
    image = Image.fromarray(smooth.astype(np.uint8))
    palette = image.quantize(64)
    rule = PixelRule("rgb", 20, 20)
    assert np.array_equal(decode(encoded(palette), rule), np.asarray(palette.convert("RGB")).transpose(2, 0, 1))
    palette.info["transparency"] = 0
    clear = np.asarray(palette) == 0
    assert (decode(encoded(palette, transparency=0), rule)[:, clear] == 0).all()
    for mode, suffix in (("CMYK", "TIFF"), ("CMYK", "JPEG"), ("YCbCr", "TIFF"), ("LAB", "TIFF"), ("1", "PNG")):
        if mode == "YCbCr" and Version(PIL.__version__) < Version("13"):
            continue  # it cannot read again what it has written: `decode` says that the file is cut short
        other = image.convert("LAB") if mode == "LAB" else image.convert(mode)
        found = decode(encoded(other, suffix, **({"quality": 98} if suffix == "JPEG" else {})), rule)
        expected = np.asarray(other.convert("RGB")).transpose(2, 0, 1)
        assert np.abs(found.astype(int) - expected).max() <= (12 if suffix == "JPEG" else 0), mode
    assert drain(as_folder(tmp_path, {"p.png": encoded(Image.fromarray(noise(bands=1)).convert("P"))}))[
        3
    ].layout.bands == ("I",)


@pytest.mark.parametrize("suffix", ["PNG", "TIFF"])
def test_sixteen_bits(tmp_path, suffix):
    deep = noise(bands=1, dtype=np.uint16)
    deep[0, :4] = [0, 65535, 128, 129]
    folder = as_folder(tmp_path, {f"a.{suffix.lower()}": encoded(deep, suffix)})
    (scaled,) = drain(folder)[0].values()
    assert np.array_equal(scaled[0], np.rint(deep / 257).astype(np.uint8))
    assert scaled[0, 0, :4].tolist() == [0, 255, 0, 1]
    (stretched,) = drain(folder, sixteen_bit="percentile")[0].values()
    low, high = np.percentile(deep, [0.5, 99.8])
    assert np.array_equal(stretched[0], np.rint(np.clip((deep - low) / (high - low), 0, 1) * 255))
    (flux,), plan = drain(folder, kind="flux")[0].values(), drain(folder, kind="flux")[3]
    assert (plan.layout.pixel_kind, plan.layout.dtype) == ("flux", "float32")
    assert np.array_equal(flux[0], deep)
    assert drain(folder, color="rgb", kind="flux")[3].layout.bands == ("R", "G", "B")


def test_floating_point_pictures_stay_linear_or_say_what_to_do(tmp_path):
    values = np.random.default_rng(0).normal(1e4, 3e3, (20, 20)).astype(np.float32)
    values[3, 3] = np.nan
    folder = as_folder(tmp_path, {"a.tif": encoded(values, "TIFF"), "b.tif": encoded(values, "TIFF")})
    with pytest.raises(ConfigError, match="--kind flux"):
        drain(folder)
    assert np.array_equal(drain(folder, kind="flux")[0]["a.tif"][0], values, equal_nan=True)
    stretched = drain(folder, sixteen_bit="percentile")[0]["a.tif"][0]
    assert stretched[3, 3] == 0
    assert (stretched.min(), stretched.max()) == (0, 255)
    (tmp_path / "c.png").write_bytes(encoded(noise(bands=1)))
    _, reasons, _, _ = drain(folder)  # one ordinary picture among them: the others fail one by one
    assert set(reasons) == {"a.tif", "b.tif"}
    (tmp_path / "c.png").write_bytes(encoded(np.full((20, 20), np.nan, np.float32), "TIFF"))
    assert drain(folder, kind="flux")[1] == {"c.png": "it has no finite pixel"}


def test_flux_of_ordinary_pictures_is_their_numbers(tmp_path):
    colour = noise()
    folder = as_folder(tmp_path, {"a.png": encoded(colour)})
    assert np.array_equal(drain(folder, kind="flux")[0]["a.png"], colour.transpose(2, 0, 1))
    grey = drain(folder, kind="flux", color="grey")[0]["a.png"][0]
    assert np.allclose(grey, colour @ np.array([0.299, 0.587, 0.114]), atol=1e-3)


def test_size_is_the_most_common_one_and_others_are_fitted(tmp_path):
    files = {f"{n}.png": encoded(noise(24, 36, seed=n)) for n in range(3)}
    files["odd.png"] = encoded(noise(50, 50, seed=9))
    pixels, _, _, plan = drain(as_folder(tmp_path, files))
    assert (plan.layout.height, plan.layout.width) == (24, 36)
    assert np.array_equal(pixels["1.png"], noise(24, 36, seed=1).transpose(2, 0, 1))
    expected = np.asarray(Image.fromarray(noise(50, 50, seed=9)).resize((24, 24), Image.Resampling.BICUBIC))
    assert np.array_equal(pixels["odd.png"][:, :, 6:30], expected.transpose(2, 0, 1))
    assert not pixels["odd.png"][:, :, :6].any()
    assert not pixels["odd.png"][:, :, 30:].any()
    assert {image.shape for image in drain(tmp_path, size=32)[0].values()} == {(3, 32, 32)}
    with pytest.raises(ConfigError, match="size=3"):
        PictureOptions(size=3)


@given(SIDES, SIDES, FRAMES, FRAMES, st.sampled_from(["display", "flux"]))
@settings(max_examples=120, deadline=None)
def test_padding_loses_nothing_and_centres(height, width, out_height, out_width, kind):
    white = np.full((height, width), 200, np.uint8)
    found = decode(encoded(white), PixelRule("grey", out_height, out_width, kind=kind))[0]
    inside = found == 200 if kind == "display" else np.isfinite(found)
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    assert inside[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()  # one rectangle
    assert (found[~inside] == 0).all() if kind == "display" else np.isnan(found[~inside]).all()
    assert np.allclose(found[inside], 200, atol=1e-3)
    assert len(rows) == out_height or len(columns) == out_width  # as large as fits
    assert abs((out_height - 1 - rows[-1]) - rows[0]) <= 1  # centred
    assert abs((out_width - 1 - columns[-1]) - columns[0]) <= 1
    scale = min(out_height / height, out_width / width)  # aspect kept to the pixel, and no side vanishes
    assert abs(len(rows) - max(1, height * scale)) <= 0.5 + 1e-9
    assert abs(len(columns) - max(1, width * scale)) <= 0.5 + 1e-9


@given(SIDES, SIDES, FRAMES, FRAMES)
@settings(max_examples=60, deadline=None)
def test_cropping_fills_the_frame_with_the_centre(height, width, out_height, out_width):
    levels = np.linspace(-1, 1, width, dtype=np.float32) if width > 1 else np.zeros(1, np.float32)
    ramp = np.broadcast_to(levels, (height, width))
    found = decode(encoded(ramp.copy(), "TIFF"), PixelRule("grey", out_height, out_width, kind="flux", fit="crop"))[0]
    assert np.isfinite(found).all()
    assert np.allclose(found, -found[:, ::-1], atol=1e-4)  # the centre stays the centre


def test_cropping_a_sliver_needs_no_memory():
    data = encoded(np.full((1, 60_000), 255, np.uint8))
    tracemalloc.start()
    found = decode(data, PixelRule("grey", 64, 64, fit="crop"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (found == 255).all()
    assert peak < 2**22


@given(SIDES, SIDES, FRAMES, st.sampled_from(["display", "flux"]), st.sampled_from(["PNG", "TIFF"]))
@settings(max_examples=60, deadline=None)
def test_the_centre_is_the_pictures_own_pixels(height, width, side, kind, suffix):
    picture = noise(height, width, bands=1, seed=side).reshape(height, width) | 1  # no black pixel
    found = decode(encoded(picture, suffix), PixelRule("grey", side, side, kind=kind, center=side))[0]
    inside = found != 0 if kind == "display" else np.isfinite(found)
    rows, columns = min(side, height), min(side, width)
    top, left = (height - rows) // 2, (width - columns) // 2
    assert inside.sum() == rows * columns
    assert np.array_equal(found[inside].reshape(rows, columns), picture[top : top + rows, left : left + columns])
    border = np.flatnonzero(inside.any(axis=1))[0], np.flatnonzero(inside.any(axis=0))[0]
    assert border == ((side - rows) // 2, (side - columns) // 2)


@pytest.mark.parametrize("mode", ["RGB", "P", "RGBA", "CMYK", "I;16", "1"])
def test_the_centre_of_any_mode_is_that_of_the_whole_picture(mode):
    values = noise(31, 40, seed=4)
    picture = Image.fromarray(values[..., 0].astype(np.uint16) * 257) if mode == "I;16" else Image.fromarray(values)
    data = encoded(picture if mode == "I;16" else picture.convert(mode), "TIFF")
    whole = decode(data, PixelRule("rgb", 31, 40))
    assert np.array_equal(decode(data, PixelRule("rgb", 12, 12, center=12)), whole[:, 9:21, 14:26])


def test_the_centre_leaves_out_what_is_burnt_in_and_small_pictures_follow_the_rule(tmp_path):
    framed = noise(40, 40, seed=1).copy()
    framed[:8], framed[:, 32:] = 255, 255
    files = {"a.png": encoded(framed), "b.png": encoded(noise(64, 90, seed=2)), "small.png": encoded(noise(10, 30))}
    pixels, failures, _, plan = drain(as_folder(tmp_path, files), center=24)
    assert (plan.layout.height, plan.layout.width) == (24, 24)
    assert np.array_equal(pixels["a.png"], framed[8:32, 8:32].transpose(2, 0, 1))
    assert np.array_equal(pixels["b.png"], noise(64, 90, seed=2)[20:44, 33:57].transpose(2, 0, 1))
    assert np.array_equal(pixels["small.png"][:, 7:17], noise(10, 30)[:, 3:27].transpose(2, 0, 1))
    assert not pixels["small.png"][:, :7].any()
    assert not failures
    pixels, failures, _, _ = drain(tmp_path, center=24, fit="crop")
    assert set(pixels) == {"a.png", "b.png"}
    assert "30 x 10 pixels, smaller than the 24 x 24 of --center" in str(failures)
    with pytest.raises(ConfigError, match="size=32 and center=24"):
        PictureOptions(size=32, center=24)
    with pytest.raises(ConfigError, match="center=3"):
        PictureOptions(center=3)


def test_the_content_decides_not_the_suffix(tmp_path):
    data = encoded(noise(), "JPEG")
    pixels, reasons, _, _ = drain(as_folder(tmp_path, {"a.png": data, "b.jpg": data}))
    assert not reasons
    assert np.array_equal(pixels["a.png"], pixels["b.jpg"])


def test_the_first_frame_of_several_is_taken(tmp_path):
    frames = [Image.fromarray(noise(seed=n)) for n in range(3)]
    for suffix in ("TIFF", "PNG"):
        data = encoded(frames[0], suffix, save_all=True, append_images=frames[1:])
        assert np.array_equal(decode(data, PixelRule("rgb", 20, 20, pages="first")), noise(seed=0).transpose(2, 0, 1))


# ------------------------------------------------------------------------------------------------------------ table


def test_a_table_rides_along_and_gives_positions(tmp_path):
    files = {f"im/{n}.png": encoded(noise(seed=n)) for n in range(4)}
    files["im/3.png"] = b"broken"
    files["labels.csv"] = b"filename,label,ra,dec,mag,objid\n0.png,anomaly,10.5,-3,17.5,1237648720693755918\n" + (
        b"1.png,nominal,-0.5,89,18,1\n3.png,nominal,1,2,,3\n"
    )
    containers = (
        as_folder(tmp_path / "f", files),
        as_zip(tmp_path / "a.zip", files),
        as_tar(tmp_path / "a.tar.gz", files, "w:gz"),
    )
    for container in containers:
        _, reasons, blocks, _ = drain(container)
        assert column(blocks, "label") == {"im/0.png": "anomaly", "im/1.png": "nominal", "im/2.png": ""}
        assert [str(v) for v in column(blocks, "objid").values()] == ["1237648720693755918", "1", ""]
        assert np.array_equal(list(column(blocks, "mag").values()), [17.5, 18, np.nan], equal_nan=True)
        assert np.array_equal(blocks[0].ra, [10.5, 359.5, np.nan], equal_nan=True)
        assert np.array_equal(blocks[0].dec, [-3, 89, np.nan], equal_nan=True)
        assert not {"ra", "dec"} & blocks[0].columns.keys()
        assert set(reasons) == {"im/3.png"}
        planned = PictureSource().plan(Request((str(container),)), PictureOptions())
        assert planned.facts[0].text == "those of the table, for 3 of 4"
        (task,) = planned
        (failure,) = (item for item in PictureSource().read(task) if isinstance(item, Failure))
        assert (failure.ra, failure.dec) == (1, 2)
        assert not drain(container, table="none")[2][0].columns


def test_which_table_is_used(tmp_path):
    folder = as_folder(tmp_path / "f", {"top/a.png": encoded(noise()), "top/labels.csv": b"name,x\na.png,1\n"})
    assert column(drain(folder)[2], "x") == {"top/a.png": 1}  # the only folder at the top counts as the top
    (folder / "top" / "classes.csv").write_bytes(b"name,x\na.png,2\n")
    with pytest.raises(CatalogError, match=r"classes\.csv and top/labels\.csv.*--table"):
        drain(folder)
    assert column(drain(folder, table="top/classes.csv")[2], "x") == {"top/a.png": 2}
    outside = tmp_path / "other.csv"
    outside.write_bytes(b"\xef\xbb\xbfname;x\r\na;7\r\n")
    assert column(drain(folder, table=str(outside))[2], "x") == {"top/a.png": 7}
    with pytest.raises(UnreadableError, match=r"neither a file nor.*top/classes\.csv, top/labels\.csv"):
        drain(folder, table="nothing.csv")
    outside.write_bytes(b"name,x\nzzz.png,7\n")
    with pytest.raises(CatalogError, match=r"fits no picture: its column 'name' has 'zzz\.png'.*like 'top/a\.png'"):
        drain(folder, table=str(outside))


IDS = ["a/1.png", "b/1.png", "a/2.png", "c/3.jpg"]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (["a/1.png", "b/1.png"], [0, 1, -1, -1]),
        (["2.png"], [-1, -1, 0, -1]),
        (["2", "3"], [-1, -1, 0, 1]),
        (["./a/1.png", "\\b\\1.png"], [0, 1, -1, -1]),
        (["deeper/b/1.png"], [-1, 0, -1, -1]),
        (["x/2.png"], [-1, -1, -1, -1]),
        (["2.png", "2.png"], [-1, -1, 1, -1]),
        (["", "4.png"], [-1, -1, -1, -1]),
    ],
)
def test_rows_match_by_id_then_by_unique_base_name(keys, expected):
    table = read_table(("object_id\tv\n" + "".join(f"{key}\t1\n" for key in keys)).encode(), "t.csv")
    assert match_rows(table, IDS).tolist() == expected


def test_ambiguous_rows_are_errors():
    with pytest.raises(CatalogError, match=r"t\.csv, line 2: '1\.png' fits 2 pictures, 'a/1\.png' and 'b/1\.png'"):
        match_rows(read_table(b"name,v\n1.png,1\n", "t.csv"), IDS)
    with pytest.raises(CatalogError, match=r"lines 2 and 3 are both about 'a/2\.png'"):
        match_rows(read_table(b"name,v\n2.png,1\na/2.png,2\n", "t.csv"), IDS)


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 30)), min_size=1, max_size=12, unique=True), st.randoms()
)
@settings(max_examples=60, deadline=None)
def test_full_ids_always_find_their_own_picture(pairs, random):
    ids = [f"{folder}/{number}.png" for folder, number in pairs]
    shuffled = random.sample(ids, len(ids))
    table = read_table(("file,v\n" + "".join(f"{key},{key}\n" for key in shuffled)).encode(), "t.csv")
    assert [shuffled[row] for row in match_rows(table, ids)] == ids


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"a,b\n1\n", "line 2: 1 values for 2 columns"),
        (b"a,a\n1,2\n", "'a' twice"),
        (b"a,b\n\xff,2\n", "UTF-8"),
    ],
)
def test_bad_tables(data, message):
    with pytest.raises((CatalogError, UnreadableError), match=message):
        read_table(data, "t.csv")


def test_a_table_with_an_impossible_position(tmp_path):
    folder = as_folder(tmp_path, {"a.png": encoded(noise()), "labels.csv": b"file,ra,dec\na.png,10,95\n"})
    with pytest.raises(CatalogError, match=r"line 2: dec is '95'"):
        drain(folder)


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        (["1", "-2"], "i", [1, -2]),
        (["1", ""], "f", [1, np.nan]),
        (["1.5", "2e3", "nan"], "f", [1.5, 2000, np.nan]),
        (["007", "1"], "O", ["007", "1"]),
        (["1_000"], "O", ["1_000"]),
        (["", ""], "O", ["", ""]),
        (["9223372036854775808"], "f", [2.0**63]),
        (["1237648720693755918", ""], "O", ["1237648720693755918", ""]),
        (["x", "1"], "O", ["x", "1"]),
    ],
)
def test_columns_are_numbers_only_where_nothing_is_lost(values, kind, expected):
    if values == ["9223372036854775808"]:
        kind, expected = "O", values  # beyond int64, and float64 would round it
    found = typed_column(values)
    assert found.dtype.kind == kind
    assert np.array_equal(found, np.array(expected, found.dtype), equal_nan=kind == "f")


# -------------------------------------------------------------------------------------------------------- the whole


def test_rows_of_a_table_without_a_picture_are_named(tmp_path):
    files = {**files_of(3), "labels.csv": b"filename,z\np0.png,1\nlost.png,2\n0999,3\np0.png,1\n", "notes.csv": b"x"}
    cache = ingest("images", as_folder(tmp_path / "f", files), out=tmp_path / "c")
    of_table = cache.facts["table"]
    assert "2 of 4 rows belong to a picture, none to 'lost.png', '0999'; 2 of 3 pictures have no row" in of_table.text
    assert of_table.value["tables"][0]["first"] == ["lost.png", "0999"]
    assert cache.facts["left out"].value["reasons"] == {
        "the table": {"number": 1, "first": ["labels.csv"]},
        "no picture that is read (.csv)": {"number": 1, "first": ["notes.csv"]},
    }
    assert cache.facts["files"].value == {"found": 5, "used": 3, "replaced": 0, "left_out": 2}


def test_the_source_is_installed_as_a_plugin():
    source = load_plugins().source("images")
    assert isinstance(source, PictureSource)
    assert source.Options is PictureOptions


def test_ingest_writes_pictures_columns_positions_and_failures(tmp_path):
    files = {**files_of(5), "bad.png": b"", "labels.csv": b"filename,label,ra,dec\np0.png,anomaly,150,2\n"}
    cache = ingest("images", as_zip(tmp_path / "a.zip", files), out=tmp_path / "cache")
    assert set(cache.ids) == files_of(5).keys()
    cutout = cache["p0.png"]
    assert np.array_equal(cutout.data, noise(seed=0).transpose(2, 0, 1))
    assert cutout.bands == ("R", "G", "B")
    assert cutout.columns["label"] == "anomaly"
    assert (cutout.coord.ra.deg, cutout.coord.dec.deg) == (150, 2)
    assert cutout.wcs is None
    assert cache["deep/er/p1.jpg"].coord is None
    assert [failure.object_id for failure in cache.failures] == ["bad.png"]


@pytest.mark.parametrize(
    ("name", "count", "size", "column_name", "table"),
    [
        ("miniimagenet-10k.zip", 10_000, 84, "wnid", "classes.csv"),
        ("galaxyzoo-odd.zip", 3025, 128, "label", "labels.csv"),
    ],
)
def test_real_archives_decode_whole_and_as_pillow_does(data_folder, name, count, size, column_name, table):
    pixels, reasons, blocks, plan = drain(data_folder / name)
    assert not reasons
    assert len(pixels) == count
    assert (plan.layout.bands, plan.layout.height, plan.layout.width) == (("R", "G", "B"), size, size)
    with zipfile.ZipFile(data_folder / name) as archive:
        for object_id in sorted(pixels)[:: count // 50]:
            expected = np.asarray(Image.open(io.BytesIO(archive.read(object_id)))).transpose(2, 0, 1)
            assert np.array_equal(pixels[object_id], expected)
        truth = {row["filename"]: row[column_name] for row in csv.DictReader(io.StringIO(archive.read(table).decode()))}
    assert {object_id.rpartition("/")[2]: value for object_id, value in column(blocks, column_name).items()} == truth


@pytest.mark.parametrize("archive", [False, True])
def test_every_file_beside_the_pictures_is_counted_and_named(tmp_path, archive):
    """Found, which is counted as the files are listed, is what is used, replaced and left out, each counted apart."""
    folder = tmp_path / "p"
    folder.mkdir()
    for name in ("a.png", "b.jpg"):
        Image.new("RGB", (16, 16), "red").save(folder / name)
    for name in ("c.avif", "d.psd", "e.exr", "f.pgm", ".hidden.png", "notes.txt"):
        (folder / name).write_bytes(b"x")
    given = folder
    if archive:
        given = tmp_path / "p.zip"
        with zipfile.ZipFile(given, "w") as packed, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the name that is there twice
            for path in [*folder.iterdir(), folder / "a.png", folder / "notes.txt"]:
                packed.write(path, path.name)
    facts = ingest("images", [given], out=tmp_path / "c").facts
    files = facts["files"].value
    assert files == {"found": 8 + 2 * archive, "used": 2, "replaced": 2 * archive, "left_out": 6}
    assert files["found"] == files["used"] + files["replaced"] + files["left_out"]
    assert facts["left out"].value["total"] == 6
    assert all(name in facts["left out"].text for name in ("c.avif", "d.psd", "e.exr", "f.pgm", ".hidden.png"))


def of_tiff(array, **how):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array, **how)
    return buffer.getvalue()


RGB_RULE = PixelRule("rgb", 20, 20)


@pytest.mark.parametrize("more", [{}, {"extrasamples": [0]}, {"extrasamples": [2]}, {"extrasamples": [0, 0]}])
@pytest.mark.parametrize("layout", ["contig", "separate"])
def test_a_further_channel_of_a_tiff_never_changes_the_colours(more, layout):
    count = 3 + len(more.get("extrasamples", [2]))
    pixels = np.clip(noise(bands=count), 20, 235)
    planes = pixels if layout == "contig" else np.moveaxis(pixels, -1, 0)
    data = of_tiff(planes, photometric="rgb", planarconfig=layout, **more)
    if layout == "separate" and 0 in more.get("extrasamples", ()):
        with pytest.raises(PictureError, match=f"{count} channels of 8 bits"):
            decode(data, RGB_RULE)
        return
    assert np.array_equal(decode(data, RGB_RULE), np.moveaxis(pixels[..., :3], -1, 0))


def test_true_transparency_of_a_tiff_is_composed_over_black():
    pixels = noise(bands=4)
    pixels[..., 3] = np.where(np.arange(20) < 10, 0, 255)
    found = decode(of_tiff(pixels, photometric="rgb", extrasamples=[2]), RGB_RULE)
    assert not found[:, :, :10].any()
    assert np.array_equal(found[:, :, 10:], np.moveaxis(pixels[:, 10:, :3], -1, 0))


def test_pages_of_a_tiff_are_not_dropped_silently():
    pages = of_tiff(np.stack([noise(bands=1, seed=k) for k in range(3)]), photometric="minisblack")
    with pytest.raises(PictureError, match=r"several pages.*--pages first"):
        decode(pages, RGB_RULE)
    first = decode(pages, PixelRule("grey", 20, 20, pages="first"))
    assert np.array_equal(first[0], noise(bands=1))
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        writer.write(noise(), photometric="rgb")
        writer.write(noise(10, 10), photometric="rgb", subfiletype=1)
    assert np.array_equal(decode(buffer.getvalue(), RGB_RULE), np.moveaxis(noise(), -1, 0))


@pytest.mark.parametrize(
    ("array", "how", "words"),
    [
        (np.zeros((20, 20), "f8"), {}, "64 bits, floating-point"),
        (np.zeros((20, 20), "f2"), {}, "16 bits, floating-point"),
        (np.zeros((20, 20, 3), "f4"), {"photometric": "rgb"}, "3 channels of 32 bits, floating-point"),
        (np.zeros((20, 20, 4), "u1"), {"photometric": "minisblack", "planarconfig": "contig"}, "4 channels of 8 bits"),
    ],
)
def test_pixels_that_cannot_be_decoded_are_refused_by_what_they_are(array, how, words):
    with pytest.raises(PictureError, match=f"a TIFF whose pixels are {words}"):
        decode(of_tiff(array, **how), RGB_RULE)


LOSSLESS = {
    ".bmp": {"format": "BMP"},
    ".webp": {"format": "WEBP", "lossless": True},
    ".jp2": {"format": "JPEG2000"},
    ".gif": {"format": "GIF"},
}


@pytest.mark.parametrize("suffix", LOSSLESS)
def test_other_formats_give_the_pixels_that_were_written(tmp_path, suffix):
    picture = noise(20, 24, 1 if suffix == ".gif" else 3, seed=4)
    Image.fromarray(picture).save(tmp_path / f"a{suffix.upper()}", **LOSSLESS[suffix])
    rule = PixelRule("grey" if suffix == ".gif" else "rgb", 20, 24)
    found = decode((tmp_path / f"a{suffix.upper()}").read_bytes(), rule)
    np.testing.assert_array_equal(found, picture[None] if suffix == ".gif" else picture.transpose(2, 0, 1))
    cache = ingest("images", [tmp_path], out=tmp_path / "cache", workers=1)
    assert (len(cache), len(list(cache.failures))) == (1, 0)


@pytest.mark.parametrize("suffix", LOSSLESS)
@settings(max_examples=40, deadline=None)
@given(share=st.floats(0.02, 0.999))
def test_what_is_cut_short_is_never_taken_for_whole(suffix, share):
    picture = noise(32, 32, 1 if suffix == ".gif" else 3, seed=5)
    data = encoded(picture, LOSSLESS[suffix]["format"], **{k: v for k, v in LOSSLESS[suffix].items() if k != "format"})
    rule = PixelRule("grey" if suffix == ".gif" else "rgb", 32, 32)
    with quiet():
        try:
            found = decode(data[: int(len(data) * share)], rule)
        except PictureError:
            return
        np.testing.assert_array_equal(found, decode(data, rule))


def test_a_gif_or_webp_that_moves_is_refused_unless_its_first_frame_is_asked_for():
    frames = [Image.fromarray(noise(20, 20, 3, seed=k)) for k in range(3)]
    for kind in ("GIF", "WEBP"):
        data = encoded(
            frames[0], kind, save_all=True, append_images=frames[1:], **({} if kind == "GIF" else {"lossless": True})
        )
        with pytest.raises(PictureError, match=r"that moves, .*--pages first"):
            decode(data, PixelRule("rgb", 20, 20))
        assert decode(data, PixelRule("rgb", 20, 20, pages="first")).shape == (3, 20, 20)


def test_colours_with_a_profile_are_brought_to_srgb():
    """Red and green of a screen whose red and blue are swapped, described by its profile."""
    from PIL import ImageCms

    swapped = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    plain = bytearray(swapped.tobytes())
    red, blue = plain.index(b"rXYZ"), plain.index(b"bXYZ")
    plain[red : red + 4], plain[blue : blue + 4] = b"bXYZ", b"rXYZ"
    name = plain.index(b"s\0R\0G\0B") if b"s\0R\0G\0B" in plain else None
    assert name is not None
    plain[name : name + 8] = b"X\0R\0G\0B\0"[:8]
    picture = np.zeros((16, 16, 3), np.uint8)
    picture[..., 0] = 255
    data = encoded(picture, "PNG", icc_profile=bytes(plain))
    rule = PixelRule("rgb", 16, 16)
    found = decode(data, rule)
    assert found[2].min() > 240 > 20 > found[0].max()  # what was red is blue
    np.testing.assert_array_equal(decode(data, PixelRule("rgb", 16, 16, icc="ignore")), picture.transpose(2, 0, 1))
    for harmless in (swapped.tobytes(), b"no profile", bytes(plain[:100])):
        np.testing.assert_array_equal(
            decode(encoded(picture, "PNG", icc_profile=harmless), rule), picture.transpose(2, 0, 1)
        )


def test_the_columns_of_a_table_can_be_named(tmp_path):
    for k in range(3):
        Image.fromarray(noise(16, 16, 3, seed=k)).save(tmp_path / f"p{k}.png")
    (tmp_path / "t.csv").write_text("who,what,a,d\nann,p0.png,10,-5\nbob,p2.png,12,5\n")
    words = {"id": "what", "ra": "a", "dec": "d", "frame": "galactic", "unit": "deg"}
    cache = ingest("images", [tmp_path], out=tmp_path / "cache", table=str(tmp_path / "t.csv"), workers=1, **words)
    expected = SkyCoord(12, 5, unit="deg", frame="galactic").icrs
    assert cache["p2.png"].coord.separation(expected).mas < 1
    assert cache["p2.png"].columns["who"] == "bob"
    assert cache["p1.png"].coord is None
    with pytest.raises(CatalogError, match="has no column 'b'"):
        ingest("images", [tmp_path], out=tmp_path / "no", table=str(tmp_path / "t.csv"), workers=1, ra="b", dec="d")
