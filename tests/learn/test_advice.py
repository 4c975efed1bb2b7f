"""What is chosen from the images, why, and that it is kept with the session."""

import re

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

import astroanomaly
from astroanomaly import Cache, ConfigError, LabelError, Session, SessionError, ingest
from astroanomaly.cache.writer import ShardWriter, create_cache
from astroanomaly.learn.label_advice import compare_views
from astroanomaly.learn.settings import build_settings
from astroanomaly.records import CutoutBlock, Layout, Task

LETTERS = "ABCDEFGJKLPQRT"


def draw(folder, count, *, turned):
    """Write pictures of two letters, upright or turned at random."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    for number in range(count):
        picture = Image.new("L", (64, 64), 40)
        text = "".join(rng.choice(list(LETTERS), 2))
        ImageDraw.Draw(picture).text((16, 20), text, fill=220, font=ImageFont.load_default(24))
        pixels = np.asarray(picture) + rng.integers(0, 20, (64, 64), np.uint8)
        Image.fromarray(np.rot90(pixels, rng.integers(4) if turned else 0).copy()).save(folder / f"{number:03d}.png")
    return folder


@pytest.fixture
def auto(tiny):
    """Settings of a small network that leave it to the images whether they have an up."""
    return tiny | {"input": {"size": 32}}


@pytest.fixture(scope="module")
def caches(tmp_path_factory):
    path = tmp_path_factory.mktemp("advice")
    for name, count, turned in (("upright", 110, False), ("turned", 110, True), ("few", 40, True)):
        ingest("images", [draw(path / f"{name}-pictures", count, turned=turned)], out=path / name)
    return path


def test_an_up_is_measured_where_no_file_tells(caches):
    (upright,), (turned,) = astroanomaly.advise(caches / "upright"), astroanomaly.advise(Cache.open(caches / "turned"))
    assert (upright.name, upright.value, upright.choice) == ("up", "kept", "input.views=picture")
    assert (turned.name, turned.value, turned.choice) == ("up", "none", "input.views=sky")
    assert "110 images" in turned.reason


def blobs(folder, size):
    """Write pictures of bright spots of a size in pixels, of any shape and brightness."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:64, :64] - 31.5
    folder.mkdir()
    for number in range(120):
        angle, ratio = rng.uniform(0, np.pi), rng.uniform(0.3, 1)
        u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        pixels = rng.normal(30, 5, (64, 64)) + rng.uniform(50, 200) * np.exp(-(u**2 + (v / ratio) ** 2) / 2 / size**2)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{number:03d}.png")
    return folder


@pytest.mark.slow
def test_small_objects_are_told_with_the_way_out(tmp_path, auto):
    ingest("images", [blobs(tmp_path / "pictures", 3)], out=tmp_path / "wide")
    up, centre = astroanomaly.advise(tmp_path / "wide")
    assert (up.choice, centre.name, centre.choice) == ("input.views=sky", "centre", "")
    pixels = int(re.search(r"--center (\d+)", centre.reason)[1])
    assert 10 <= pixels <= 30  # the spots are 3 pixels wide in standard deviation
    assert Session.create(tmp_path / "search", tmp_path / "wide", settings=auto).advice == (up, centre)
    ingest("images", [tmp_path / "pictures"], out=tmp_path / "close", center=pixels)
    assert [one.name for one in astroanomaly.advise(tmp_path / "close")] == ["up"]


def test_objects_that_fill_the_frame_are_left_as_they_are(tmp_path):
    ingest("images", [blobs(tmp_path / "pictures", 12)], out=tmp_path / "filled")
    assert [one.name for one in astroanomaly.advise(tmp_path / "filled")] == ["up"]


def test_damaged_cutouts_are_left_out(tmp_path):
    layout, rng = Layout(("g",), 32, 32), np.random.default_rng(2)
    create_cache(tmp_path / "c", layout, [Task("t")], {"source": "test"})
    ids = [f"o{number:03d}" for number in range(130)]
    with ShardWriter(tmp_path / "c", layout) as writer:
        writer.begin(0, "t")
        writer.add(CutoutBlock(ids, rng.normal(0, 1, (130, 1, 32, 32)).astype(np.float32), layout.bands))
        writer.commit()
    cache = Cache.open(tmp_path / "c")
    shard, lost = cache.shards[0].path, cache.sample(600, np.random.default_rng((0, 17)))[:3]  # looked at first
    content = bytearray(shard.read_bytes())
    for one in lost:
        content[content.index(cache[one].data.tobytes()) + 5] ^= 1
    shard.write_bytes(content)
    (advice,) = astroanomaly.advise(Cache.open(tmp_path / "c"))
    assert (advice.name, advice.choice) == ("up", "input.views=sky")
    assert "of 127 images" in advice.reason


def test_few_images_are_taken_by_their_kind(caches):
    (advice,) = astroanomaly.advise(caches / "few")
    assert advice.choice == "input.views=picture"
    assert "40 images are too few" in advice.reason


def test_a_setting_holds(caches):
    (advice,) = astroanomaly.advise(caches / "turned", settings={"input": {"views": "picture"}})
    assert advice.choice == "input.views=picture"
    assert "input.views" in advice.reason


def test_a_wcs_says_that_there_is_no_up(sky):
    (advice,) = astroanomaly.advise(sky[1])
    assert (advice.choice, advice.reason) == ("input.views=sky", "the cutouts have a WCS")


def test_a_session_keeps_what_was_measured(caches, tmp_path, auto):
    made = Session.create(tmp_path / "search", caches / "turned", settings=auto)
    assert made.model_input.views == "sky"
    opened = Session.open(tmp_path / "search")
    assert opened.advice == made.advice == astroanomaly.advise(caches / "turned")
    assert opened.model_input == made.model_input
    assert opened.settings["input"]["views"] == "auto"


def test_a_session_of_an_earlier_version_keeps_what_it_had(caches, tmp_path, auto):
    """It has no advice, and views by the kind of its pixels."""
    made = Session.create(tmp_path / "search", caches / "few", settings=auto)
    file = made.path / "session.toml"
    text = file.read_text()
    file.write_text(text[: text.index("[[advice]]")] if text.index("[[advice]]") > text.index("[seen]") else text)
    opened = Session.open(made.path)
    assert opened.advice == ()
    assert opened.model_input == made.model_input


def test_a_damaged_record_is_named(caches, tmp_path, auto):
    made = Session.create(tmp_path / "search", caches / "few", settings=auto)
    file = made.path / "session.toml"
    file.write_text(file.read_text().replace("choice =", "chosen ="))
    with pytest.raises(SessionError, match="recorded wrongly"):
        _ = Session.open(made.path).advice


def test_labels_decide_only_beyond_the_noise(caches, tmp_path, auto):
    cache = Cache.open(caches / "turned")
    rng = np.random.default_rng(3)
    random = {i: str(rng.choice(["anomaly", "nominal"])) for i in cache.ids}
    (tmp_path / "labels.csv").write_text("object_id,label\n" + "".join(f"{i},{label}\n" for i, label in random.items()))
    measured, compared = astroanomaly.advise(cache, labels=tmp_path / "labels.csv", settings=auto)
    assert measured.choice == "input.views=sky"
    assert (compared.name, compared.value, compared.choice) == ("up by labels", "within the noise", "")
    (tmp_path / "one.csv").write_text(f"object_id,label\n{cache.ids[0]},anomaly\n")
    assert "too few labels" in astroanomaly.advise(cache, labels=tmp_path / "one.csv", settings=auto)[1].reason
    (tmp_path / "wrong.csv").write_text("object_id,label\nnobody.png,anomaly\n")
    with pytest.raises(LabelError, match="nobody"):
        astroanomaly.advise(cache, labels=tmp_path / "wrong.csv", settings=auto)


def test_a_clear_difference_is_called_one(caches):
    """Figures of two views that differ in every fold, and of two that differ by chance."""
    from astroanomaly.learn.label_advice import Comparison

    rng = np.random.default_rng(0)
    base = rng.normal(0.7, 0.05, 20)
    clear = Comparison(20, 90, {"sky": base + 0.1 + rng.normal(0, 0.01, 20), "picture": base})
    assert clear.is_clear
    assert clear.best == "sky"
    assert not Comparison(20, 90, {"sky": base + rng.normal(0, 0.05, 20), "picture": base}).is_clear


def test_an_unknown_setting_is_named(caches):
    with pytest.raises(ConfigError, match="veiws"):
        astroanomaly.advise(caches / "few", settings={"input": {"veiws": "sky"}})


def test_too_few_labels_are_compared_by_nothing(caches):
    assert compare_views(Cache.open(caches / "few"), {}, build_settings({})) is None
