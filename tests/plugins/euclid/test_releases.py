"""Releases of Euclid: found by the names of tables, chosen by name or as the newest, and named by a user's file."""

import pytest
from astropy.coordinates import SkyCoord

from astroanomaly import CatalogError, ConfigError, FootprintError, ingest
from astroanomaly.cli import main
from astroanomaly_plugins.euclid.releases import choose_release, found_releases, newest_first
from astroanomaly_plugins.euclid.source import EuclidSource
from servers.euclid import EuclidServer
from servers.irsa import BucketServer, IrsaServer

SPLIT = tuple(f"catalogue.mer_catalogue_{part}" for part in ("wide_survey", "wide_mode", "deep_survey", "deep_mode"))


@pytest.fixture
def esa(mer, monkeypatch):
    with EuclidServer(mer) as server:
        server.sleepy = 0
        monkeypatch.setenv("ASTROANOMALY_EUCLID_SERVER", server.url)
        yield server


@pytest.fixture
def irsa(mer, monkeypatch):
    with IrsaServer(mer) as server, BucketServer(mer) as bucket:
        monkeypatch.setenv("ASTROANOMALY_IRSA_SERVER", server.url)
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", bucket.url)
        yield server


@pytest.fixture
def cut(mer, tmp_path):
    """Cut one band of all objects of the MER catalogue, in a cone around them."""
    ra, dec = (float(mer.catalogue[name].mean()) for name in ("right_ascension", "declination"))

    def run(name="cache", **options):
        options = {"size": "16", "via": "esa", "bands": ("VIS",), "cone": f"{ra} {dec}", "radius": "1deg", **options}
        fetch = {"keep": str(tmp_path / name) + "-kept", "first_wait_s": 0.01, "attempts": 2}
        return ingest(EuclidSource(), out=tmp_path / name, fetch=fetch, **options)

    return run


def queries(server):
    return " ".join(asked.get("QUERY") for asked in server.asked)


def test_old_and_new_names_of_q1_give_the_same_cutouts(mer, esa, cut):
    before = cut("before")
    assert len(before) == len(mer.catalogue)
    assert before.facts["release"].value["mosaics"] == "sedm.mosaic_product"
    esa.mosaic_tables = ("sedm.mosaic_product", "q1.mosaic_product")
    esa.catalogues = SPLIT
    after = cut("after")
    assert after.digest() == before.digest()  # each object once, though some lie in two parts of the catalogue
    assert after.facts["release"].text == f"q1 at ESA: mosaics of q1.mosaic_product, catalogue {' + '.join(SPLIT)}"


def test_the_newest_release_is_taken_and_another_one_by_name(mer, esa, cut):
    esa.mosaic_tables = ("sedm.mosaic_product", "q1.mosaic_product", "dr1.mosaic_product")
    esa.catalogues = ("catalogue.mer_catalogue", "dr1.mer_catalogue")
    newest = cut("newest")
    assert newest.facts["release"].value["name"] == "dr1"
    assert "FROM dr1.mosaic_product" in queries(esa)
    assert 0 < len(newest) < len(mer.catalogue)  # what this catalogue has
    esa.asked.clear()
    named = cut("named", release="q1")
    assert named.facts["release"].value["catalogues"] == ["catalogue.mer_catalogue"]
    assert "dr1." not in queries(esa)
    with pytest.raises(ConfigError, match=r"--release dr7: ESA has no mosaics of this release. It has dr1, q1"):
        cut("none", release="dr7")


def test_irsa_has_releases_too(mer, irsa, cut):
    old = cut("old", via="irsa")
    irsa.collections = ("euclid_DpdMerBksMosaic", "euclid_dr1_DpdMerBksMosaic")
    irsa.catalogues = ("euclid_q1_mer_catalogue", "euclid_dr1_mer_catalogue")
    new = cut("new", via="irsa")
    assert new.facts["release"].value["name"] == "dr1"
    assert [asked.get("COLLECTION") for asked in irsa.asked if asked.path == "/SIA"][-1] == "euclid_dr1_DpdMerBksMosaic"
    assert len(new) == len(old) == len(mer.catalogue)


def test_a_file_of_names_makes_a_release_known(esa, cut, tmp_path):
    esa.mosaic_tables = ("sedm.mosaic_product", "public.images_of_2027")
    esa.catalogues = ("catalogue.mer_catalogue", "public.objects_of_2027")
    (tmp_path / "names.toml").write_text(
        '[dr2]\n[dr2.esa]\nmosaics = "public.images_of_2027"\ncatalogues = ["public.objects_of_2027"]\n'
    )
    cache = cut(release="dr2", releases=tmp_path / "names.toml")
    assert cache.facts["release"].value["mosaics"] == "public.images_of_2027"
    assert "FROM public.objects_of_2027" in queries(esa)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[dr2", "cannot be read as TOML"),
        ("dr2 = 1", r"\[dr2\] is no release"),
        ('[dr2.esa]\nmosaics = "a; DROP TABLE b"', "is no name of a table"),
        ('[dr2.esa]\nmosaics = "a.b"\nra = "1=1 OR ra"', "is no name of a column"),
        ('[dr2.esa]\ncatalogues = "a.b"', "names no mosaics"),
        ('[dr2]\ndate = "soon"', "expected one as 2025-03-19"),
        ("[dr2]\nserver = 'x'", "expected date, esa and irsa"),
        ("x = '" + "y" * 200_000 + "'", "more than 100000 bytes"),
    ],
)
def test_a_file_that_says_something_else_is_refused(text, words, esa, cut, tmp_path):
    (tmp_path / "names.toml").write_text(text)
    with pytest.raises(ConfigError, match=words):
        cut(releases=tmp_path / "names.toml")
    assert not (tmp_path / "cache").exists()


def test_describe_says_what_the_archives_have(esa, irsa, capsys, tmp_path):
    esa.mosaic_tables = ("sedm.mosaic_product", "q1.mosaic_product", "dr1.mosaic_product")
    assert main(["ingest", "euclid", "--describe", "--keep", str(tmp_path)]) == 0
    lines = capsys.readouterr().out
    assert "releases at ESA: dr1 (taken): mosaics of dr1.mosaic_product, no catalogue; q1:" in lines
    assert "releases at IRSA: q1 (taken): mosaics of euclid_DpdMerBksMosaic" in lines


def test_a_release_without_a_catalogue_says_what_to_do(esa, cut, mer):
    esa.mosaic_tables = ("dr1.mosaic_product",)
    with pytest.raises(CatalogError, match="has mosaics of the release dr1, and no MER catalogue"):
        cut()
    path = mer.folder / "sky" / "catalogue.ecsv"
    assert len(cut("own", catalog=path, cone="", radius="")) == len(mer.catalogue)


def test_a_place_that_the_newest_release_has_not_seen_names_the_others(esa, cut):
    esa.mosaic_tables = ("q1.mosaic_product", "dr1.mosaic_product")
    far = SkyCoord([10.0], [-80.0], unit="deg")
    with pytest.raises(FootprintError, match=r"release dr1 was asked for; there are also q1 \(--release\)"):
        cut(catalog=far, cone="", radius="")


def test_the_order_of_releases():
    names = {
        "q1.mosaic_product",
        "q2.mosaic_product",
        "dr1.mosaic_product",
        "dr10.mosaic_product",
        "dr9.mosaic_product",
    }
    found = newest_first(found_releases("esa", names))
    assert [release.name for release in found] == ["dr10", "dr9", "dr1", "q2", "q1"]
    assert choose_release("newest", "esa", {"q1.mosaic_product", "q2.mosaic_product"}).name == "q2"
    assert choose_release("newest", "esa", {"sedm.mosaic_product"}).name == "q1"
    with pytest.raises(ConfigError, match="no table of Euclid mosaics"):
        choose_release("newest", "esa", {"gaia.source"})
