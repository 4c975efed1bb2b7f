"""What the command says it understood, before it reads, in the cache and in info; previews."""

import json

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from PIL import Image

from astroanomaly import Cache
from astroanomaly.cli import main
from small_sky import header, make_sky


@pytest.fixture
def sky(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files, coords, x, y = make_sky(tmp_path)
    columns = {"NUMBER": np.arange(20), "alpha_win": coords.ra.deg, "delta_win": coords.dec.deg}
    Table({**columns, "x": x + 40, "y": y - 3}).write("sources.csv")
    return files


@pytest.fixture
def run(capsys):
    def call(*words, check=0):
        try:
            code = main([str(word) for word in words])
        except SystemExit as end:
            code = end.code
        said = capsys.readouterr()
        assert code == check, said.out + said.err
        return said.out if check == 0 else said.err

    return call


SAID = [
    "positions: alpha_win, delta_win (usual names); frame icrs; in deg, as no unit is stated; not used: x/y",
    "ids: column NUMBER",
    "objects: 20: 20 on the images",
    "tiles: 1; objects on each: {0}[0] 20",
    "bands: g [nJy] from {0}[0]; r [nJy] from {1}[0] (named by header)",
    "pixel scale: 0.2 arcsec",
    "size: 12 x 9 pixels = 2.4 x 1.8 arcsec (width x height)",
    "files: 2 found: 2 used",
    "images: 2 found in them: 2 used, 0 left out",
]
WORDS = ["ingest", "fits", "m_g.fits", "m_r.fits", "--catalog", "sources.csv", "--size", "12x9"]


def test_what_was_understood_is_said_before_reading_and_again_when_resumed(sky, run):
    said = [line.format(*sky) for line in SAID]
    first = run(*WORDS, "--out", "c", "--workers", "1").splitlines()
    assert first[: len(said)] == said
    assert "20 cutouts written" in first[len(said)]
    assert run(*WORDS, "--out", "c", "--workers", "1").splitlines()[: len(said)] == said
    shown = " ".join(run("info", "c").split())
    for line in said:
        assert f"understood: {line.replace(': ', ' ', 1)}" in shown
    assert run(*WORDS, "--dry-run").splitlines()[: len(said)] == said


def test_the_cache_has_it_as_plain_data(sky, run):
    run(*WORDS, "--out", "c", "--workers", "1")
    stored = json.loads((sky[0].parent / "c" / "cache.json").read_text())["facts"]
    values = {item["name"]: item["value"] for item in stored}
    assert values["positions"] == {
        "columns": ["alpha_win", "delta_win"], "chosen": "usual names", "kind": "sky", "frame": "icrs", "unit": "deg",
        "unit_stated": False, "origin": None, "unused": [["x", "y"]],
    }  # fmt: skip
    assert values["bands"]["r"] == {"unit": "nJy", "images": 1, "first": [f"{sky[1]}[0]"]}
    assert values["tiles"]["most"] == 20
    assert values["pixel scale"]["arcsec"] == pytest.approx([0.2, 0.2])
    assert values["size"] == {"pixels": [9, 12], "arcsec": pytest.approx([1.8, 2.4])}
    assert {name: fact.value for name, fact in Cache.open("c").facts.items()} == values


@pytest.mark.parametrize("damage", ["missing", "text", "items", "long"])
def test_a_cache_that_says_nothing_or_nonsense_opens(sky, run, damage):
    run(*WORDS, "--out", "c", "--workers", "1")
    path = sky[0].parent / "c" / "cache.json"
    content = json.loads(path.read_text())
    content["facts"] = {
        "text": "\x1b[31m", "items": [5, {"name": 1}, {"name": "a", "text": "b"}, None],
        "long": [{"name": "a", "text": "b" * 100_000}, {"name": "a", "text": "b"}],
    }.get(damage)  # fmt: skip
    if damage == "missing":
        del content["facts"]
    path.write_text(json.dumps(content))
    assert [fact.text for fact in Cache.open("c").facts.values()] == (["b"] if damage in ("items", "long") else [])
    assert "20" in run("info", "c")
    assert "0 cutouts written" in run(*WORDS, "--out", "c", "--workers", "1")


def test_a_thousand_tiles_are_a_few_lines(tmp_path, run, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ra = 10 + np.arange(30) * 0.1
    for k, lon in enumerate(ra):
        pixels = np.random.default_rng(k).normal(size=(20, 20)).astype(np.float32)
        fits.PrimaryHDU(pixels, header(lon, 0.0, (20, 20), FILTER="r")).writeto(f"t{k:03d}.fits")
    Table({"ra": np.repeat(ra[1:], np.arange(1, 30)), "dec": np.zeros(435)}).write("c.csv")
    said = run("ingest", "fits", tmp_path, "--catalog", "c.csv", "--size", "8", "--dry-run").splitlines()
    (line,) = [line for line in said if line.startswith("tiles: ")]
    folder = tmp_path.as_posix()
    assert line == (
        f"tiles: 30; objects on each: {folder}/t001.fits[0] 1, {folder}/t002.fits[0] 2, {folder}/t003.fits[0] 3 ...; "
        "least 1, median 15, most 29; 1 without any"
    )
    (line,) = [line for line in said if line.startswith("bands: ")]
    assert line.endswith("t002.fits[0] and 27 more (named by header)")


def test_a_preview_draws_and_writes_no_cache(sky, run, tmp_path):
    before = sorted(item.name for item in tmp_path.iterdir())
    said = run(*WORDS, "--preview", "5").splitlines()
    assert said[: len(SAID)] == [line.format(*sky) for line in SAID]
    assert said[-1] == "astroanomaly-preview.png: 5 cutouts; no cache was written: this was a preview"
    assert sorted(item.name for item in tmp_path.iterdir()) == sorted([*before, "astroanomaly-preview.png"])
    assert "other.svg: 5 cutouts" in run(*WORDS, "--preview", "5", "--preview-to", "other.svg", "--out", "never")
    assert not (tmp_path / "never").exists()
    text = (tmp_path / "other.svg").read_text()
    assert text.count("<svg") == 1
    with Image.open("astroanomaly-preview.png") as picture:
        assert picture.size[0] > 3 * 150


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--preview", "0"], "not a count of 1 or more"),
        (["--preview", "3", "--preview-to", "a.gif"], "a figure's name ends in .png, .svg, .pdf"),
        (["--preview-to", "a.png", "--out", "c"], "--preview-to names the picture of --preview N"),
        (["--preview", "3", "--dry-run"], "exclude one another"),
        ([], "--out CACHE is missing"),
    ],
)
def test_flags_that_do_not_go_together(sky, run, words, message):
    assert message in " ".join(run(*WORDS, *words, check=2).split())


def test_unknown_sky_columns_beside_pixels_are_an_error_that_lists_them(sky, run):
    table = Table.read("sources.csv")
    table.rename_columns(["alpha_win", "delta_win"], ["lon_a", "lat_d"])
    table.write("odd.csv")
    words = ["ingest", "fits", "m_g.fits", "--catalog", "odd.csv", "--size", "9", "--out", "c"]
    said = " ".join(run(*words, check=2).split())
    for part in ("NUMBER, lon_a, lat_d, x, y", "--ra COLUMN --dec COLUMN", "--x x --y y"):
        assert part in said
    assert "20 on the images" in run(*words, "--ra", "lon_a", "--dec", "lat_d", "--workers", "1")
