"""The source ``vo`` at a data centre that wants a login; and every image of a band as a cutout of its own."""

import json

import pytest

from astroanomaly import ConfigError, FetchConfig, FetchError, ingest
from astroanomaly_plugins.vo.plan import _short_names
from astroanomaly_plugins.vo.source import VoSource
from servers.base import Answer
from servers.vo import VoServer
from servers.vo_sky import make_sky

TOKEN = "Bearer of-the-test"


@pytest.fixture(scope="module")
def sky(tmp_path_factory):
    return make_sky(tmp_path_factory.mktemp("vo"), n_objects=8)


@pytest.fixture(autouse=True)
def _account(monkeypatch, tmp_path):
    for name in ("TOKEN", "USER", "PASSWORD", "CERTIFICATE", "CREDENTIALS"):
        monkeypatch.delenv(f"VO_{name}", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))


class Guarded(VoServer):
    """Refuses whoever brings no token; its capabilities say so, beside an interface for all that leads nowhere."""

    def answer(self, asked):
        if "capabilities" in asked.path:
            answer = super().answer(asked)
            way = b'<securityMethod standardID="ivo://ivoa.net/sso#OAuth"/></interface>'
            return Answer(answer.body.replace(b"</interface>", way), answer.type)
        if asked.headers.get("Authorization") != TOKEN:
            return Answer(b"<html><body>Who are you?</body></html>", "text/html", 401)
        return super().answer(asked)


def run(server, sky, out, **options):
    net = FetchConfig(first_wait_s=0.01, attempts=2, timeout_s=5, keep=str(out.parent / "kept"))
    options = {"service": f"{server.url}/sia2", "size": "24", "catalog": sky.catalog, "bands": ("r",), **options}
    return ingest(VoSource(), out=out, fetch=net, **options)


def test_a_service_that_wants_a_token(sky, tmp_path, monkeypatch):
    with VoServer(sky.products) as server:
        clean = run(server, sky, tmp_path / "a" / "cache")
    monkeypatch.setenv("VO_TOKEN", "of-the-test")
    with Guarded(sky.products) as server:
        with pytest.raises(ConfigError, match="wants a login of a kind that is not given"):
            run(server, sky, tmp_path / "b" / "cache")
        cache = run(server, sky, tmp_path / "c" / "cache", login=(f"127.0.0.1:{server.port}",))
        assert not cache.failures
        assert sorted(cache.ids) == sorted(clean.ids)
        for object_id in cache.ids:
            assert (cache[object_id].data == clean[object_id].data).all()
    for path in (tmp_path / "c").rglob("*"):  # cache, plan and what was kept
        assert not path.is_file() or b"of-the-test" not in path.read_bytes()
    assert "of-the-test" not in json.dumps(cache.request)


def test_a_token_that_is_refused_is_said(sky, tmp_path, monkeypatch):
    monkeypatch.setenv("VO_TOKEN", "wrong")
    with Guarded(sky.products) as server, pytest.raises(FetchError, match="HTTP 401") as caught:
        run(server, sky, tmp_path / "cache", login=(f"127.0.0.1:{server.port}",))
    assert "wrong" not in str(caught.value)


@pytest.mark.parametrize("soda", [True, False])
def test_data_on_another_host_get_no_token(soda, sky, tmp_path, monkeypatch):
    """The service is named; where its answers lead is allowed, but not named: it is asked, and gets nothing."""
    monkeypatch.setenv("VO_TOKEN", "of-the-test")
    with VoServer(sky.products, soda=soda) as data, Guarded(sky.products, soda=soda) as service:

        class Elsewhere(Guarded):
            def answer(self, asked):
                answer = super().answer(asked)
                if asked.path == "/datalink":
                    port = f":{service.port}/".encode()
                    return Answer(answer.body.replace(port, f":{data.port}/".encode()), answer.type)
                return answer

        service.__class__ = Elsewhere
        cache = run(service, sky, tmp_path / "cache", login=(f"127.0.0.1:{service.port}",))
        assert len(cache) == 8
        assert data.count() >= 1
        assert all("Authorization" not in asked.headers for asked in data.asked)
        assert any(asked.headers.get("Authorization") == TOKEN for asked in service.asked)


def test_a_login_without_a_secret_is_said_before_anything_is_asked(sky, tmp_path):
    with VoServer(sky.products) as server:
        with pytest.raises(ConfigError, match="no secret is given: set VO_TOKEN"):
            run(server, sky, tmp_path / "cache", login=(f"127.0.0.1:{server.port}",))
        assert server.count() == 0


# ----------------------------------------------------------------------------------------------------------- exposures


def test_every_image_of_a_band_is_a_cutout_of_its_own(sky, tmp_path):
    from dataclasses import replace

    second = [replace(product, name=f"{product.name}_again", exposure_s=50.0) for product in sky.products]
    with VoServer([*sky.products, *second]) as server:
        best = run(server, sky, tmp_path / "best")
        every = run(server, sky, tmp_path / "all", exposures="all")
    assert len(best) == 8
    names = {name.partition("/")[0] for name in every.ids}
    assert names <= {f"sky_tile{k}_r{end}" for k in (1, 2) for end in ("", "_again")}
    for object_id in best.ids:
        mine = [name for name in every.ids if name.endswith(f"/{object_id}")]
        assert len(mine) >= 2  # both exposures of its tile at least; both of the next in the overlap
        assert {every[name].columns["product_r"] for name in mine} >= {best[object_id].columns["product_r"]}
    found = {fact.name: fact.value for fact in every.facts.values()}
    assert found["objects"]["total"] == 8


def test_all_images_of_several_bands_are_refused(sky, tmp_path):
    with VoServer(sky.products) as server, pytest.raises(ConfigError, match="exposures=all needs one band"):
        run(server, sky, tmp_path / "cache", bands=("g", "r"), exposures="all")


def test_short_names_tell_products_apart():
    assert _short_names(["ivo://a/x?one", "ivo://a/x?two"]) == ["one", "two"]
    assert _short_names(["ivo://a/1/r", "ivo://a/2/r"]) == ["1_r", "2_r"]
    assert _short_names(["same", "same"]) == ["0", "1"]
    assert _short_names([]) == []
