"""Files of a session and a cache that were damaged: one line that names the file, never a traceback."""

import json
import shutil
import tomllib

import h5py
import numpy as np
import pytest
import tomli_w
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from astroanomaly import Cache, Session
from astroanomaly.app.review.preferences import load_preferences, save_preferences
from astroanomaly.cache.plan import read_plan
from astroanomaly.cli import main
from astroanomaly.errors import AstroAnomalyError, CacheError, SessionError
from astroanomaly.session.rounds import ROUNDS, new_round


@pytest.fixture(scope="module")
def made(sky, tmp_path_factory):
    """A session beside its cache, with a round; to be copied."""
    from conftest import TINY

    home = tmp_path_factory.mktemp("damaged")
    shutil.copytree(sky[1], home / "cache", ignore=shutil.ignore_patterns("derived"))
    session = Session.create(home / "search", home / "cache", settings=TINY)
    with new_round(session.path / ROUNDS, "cold", 0):
        pass
    return home


@pytest.fixture
def home(made, tmp_path):
    return shutil.copytree(made, tmp_path / "home")


def look(path):
    session = Session.open(path)
    return session.cache, session.labels.classes, session.settings, session.context, session.model_input, session.rounds


LOST = (
    ("settings", "session"), ("settings", "backbone"), ("settings", "stretch"), ("settings", "input"), ("settings",),
    ("seen",), ("caches",), ("classes",), ("version",), ("format",),
)  # fmt: skip


@pytest.mark.parametrize("keys", LOST, ids=".".join)
@pytest.mark.parametrize("value", [None, 5, "", []], ids=["missing", "number", "text", "list"])
def test_a_session_file_without_what_it_needs(home, keys, value, capsys):
    path = home / "search" / "session.toml"
    content = tomllib.loads(path.read_text())
    inner = content if len(keys) == 1 else content[keys[0]]
    if value is None:
        del inner[keys[-1]]
    else:
        inner[keys[-1]] = value
    path.write_text(tomli_w.dumps(content))
    for command in ("info", "train", "rounds"):
        number = main([command, str(home / "search")])
        said = capsys.readouterr().err
        if keys == ("version",) and value == 5:
            assert "newer than" in said
        assert number == 2
        assert "session.toml" in said or "newer than" in said
        assert len([line for line in said.splitlines() if not line.endswith(" ...")]) == 1


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_session_file_with_any_change_is_read_or_refused(made, tmp_path_factory, data):
    home = tmp_path_factory.mktemp("fuzz")
    for name in ("labels.sqlite", "session.toml", "caches.json"):
        shutil.copy(made / "search" / name, home)
    lines = (home / "session.toml").read_text().splitlines()
    number = data.draw(st.integers(0, len(lines) - 1))
    key = lines[number].split(" = ")[0]
    value = data.draw(st.sampled_from([
        "3", "-1", "1e400", "[]", "[[1]]", "'x'", "true", "{a = 1}", "1979-05-27", "nan", "['a', 1]",
    ]))  # fmt: skip
    changed = data.draw(st.sampled_from(["", f"{key} = {value}", "[x]", "[[settings]]", "="]))
    (home / "session.toml").write_text("\n".join([*lines[:number], changed, *lines[number + 1 :]]))
    try:
        look(home)
    except AstroAnomalyError as error:
        assert str(error)  # noqa: PT017 - either way is right


@pytest.mark.parametrize("text", ["", "{", "[]", '{"ranker": 1}', '{"ranker": "cold", "last_event": "x"}', "\0"])
def test_a_damaged_recipe_of_a_round(home, text):
    (home / "search" / "rounds" / "0001" / "ranker.json").write_text(text)
    with pytest.raises(SessionError, match=r"ranker\.json .*damaged.*move the folder of this round"):
        look(home / "search")


@pytest.mark.parametrize(
    "text", ["", "[]", '{"caches": 3}', '{"caches": {"a": []}}', '{"caches": {"a": {"objects": "x"}}}']
)
def test_a_damaged_record_of_the_caches(home, text):
    (home / "search" / "caches.json").write_text(text)
    with pytest.raises(SessionError, match=r"caches\.json is damaged.*nothing is compared"):
        Session.open(home / "search").record_caches()


GOOD = {
    "bands": ["a"], "height": 4, "width": 4, "dtype": "float32", "pixel_kind": "flux", "units": [""], "stretch": "",
}  # fmt: skip
LAYOUTS = [
    "{", "[]", "3", "null", '{"bands": 3}', '{"bands": "VIS"}', "[" * 500,
    json.dumps(GOOD).replace('"height": 4', '"height": 1e999'),
    *(json.dumps(GOOD | changed) for changed in (
        {"pixel_kind": []}, {"bands": ["a", "a"]}, {"dtype": "float128"}, {"height": "4"}, {"units": "m"},
    )),
]  # fmt: skip


def read_all(cache):
    """Ask for the pixels of all objects."""
    return cache.read(cache.ids)


@pytest.mark.parametrize("layout", LAYOUTS, ids=range(len(LAYOUTS)))
def test_a_damaged_layout(home, layout, capsys):
    """Of the cache, and of a shard."""
    cache = home / "cache"
    description = json.loads((cache / "cache.json").read_text())
    text = (cache / "cache.json").read_text()
    try:
        inside = json.loads(layout)
    except json.JSONDecodeError:
        inside = layout
    (cache / "cache.json").write_text(json.dumps(description | {"layout": inside}))
    with pytest.raises(CacheError, match=r"cache\.json: its layout is damaged"):
        Cache.open(cache)
    assert main(["info", str(cache)]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len([line for line in said if not line.endswith(" ...")]) == 1  # which a slow command begins with
    (cache / "cache.json").write_text(text)
    shard = next((cache / "shards").glob("*.h5"))
    with h5py.File(shard, "r+") as file:
        file.attrs["layout"] = layout
    with pytest.raises(CacheError, match=rf"{shard.name}.*layout"):
        read_all(Cache.open(cache))
    assert main(["info", "--check", str(cache)]) == 2


def test_a_layout_that_is_no_text(home):
    shard = next((home / "cache" / "shards").glob("*.h5"))
    for value in (np.arange(3), 5.0, None):
        with h5py.File(shard, "r+") as file:
            del file.attrs["layout"]
            if value is not None:
                file.attrs["layout"] = value
            elif "layout" in file.attrs:
                del file.attrs["layout"]
        with pytest.raises(CacheError, match="layout is missing or damaged"):
            read_all(Cache.open(home / "cache"))
        with h5py.File(shard, "r+") as file:
            file.attrs["layout"] = "{}"


@pytest.mark.parametrize("payload", [b"", b"{", b"[]", b"\xff", b'{"a": ' * 1000])
def test_a_damaged_task_of_a_plan(home, payload):
    with h5py.File(home / "cache" / "plan.h5", "r+") as file:
        name = sorted(file)[0]
        del file[name]["payload"]
        file[name]["payload"] = np.frombuffer(payload, np.uint8)
    with pytest.raises(CacheError, match=rf"plan\.h5, dataset {name}/payload"):
        list(read_plan(home / "cache"))


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1]", b'{"ann": 3}', b'{"ann":' * 5000, b'{"ann": {"display": 3}}', b"\xff"]
)
def test_damaged_preferences_are_left_out_and_set_aside(tmp_path, content):
    (tmp_path / "app.json").write_bytes(content)
    assert load_preferences(tmp_path, "ann") in ({}, {"display": 3})
    save_preferences(tmp_path, "ann", {"page_size": 9})
    assert load_preferences(tmp_path, "ann") == {"page_size": 9}
