"""What a person chose is kept beside what others chose; a hostile or damaged file does no harm."""

import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astroanomaly.app.review.preferences import load_preferences, save_preferences
from astroanomaly.errors import ConfigError
from astroanomaly.imaging.display import Display


def test_everybody_has_their_own(tmp_path):
    save_preferences(tmp_path, "ann", {"page_size": 9})
    save_preferences(tmp_path, "bén", {"page_size": 16})
    save_preferences(tmp_path, "ann", {"page_size": 25})
    assert load_preferences(tmp_path, "ann") == {"page_size": 25}
    assert load_preferences(tmp_path, "bén") == {"page_size": 16}
    assert load_preferences(tmp_path, "eve") == {}


@pytest.mark.parametrize("content", [b"[" * 100_000, b'{"ann":' * 50_000, b"{", b"\xff\xfe\x00", b"[1, 2]", b"7", b""])
def test_a_damaged_file_is_left_out_and_set_aside(tmp_path, content):
    path = tmp_path / "app.json"
    path.write_bytes(content)
    assert load_preferences(tmp_path, "ann") == {}
    save_preferences(tmp_path, "ann", {"page_size": 9})
    assert load_preferences(tmp_path, "ann") == {"page_size": 9}
    assert (tmp_path / "app-damaged.json").read_bytes() == content


def test_a_file_that_is_too_large_is_left_out_and_left_alone(tmp_path, caplog):
    path = tmp_path / "app.json"
    path.write_bytes(content := b'{"ben": {}}' + b" " * 10**6)
    assert load_preferences(tmp_path, "ann") == {}
    with caplog.at_level(logging.WARNING):
        save_preferences(tmp_path, "ann", {"page_size": 9})
    assert path.read_bytes() == content
    assert "preferences are not kept" in caplog.text


def test_it_never_grows_beyond_what_is_read(tmp_path, caplog):
    save_preferences(tmp_path, "ann", {"page_size": 9})
    save_preferences(tmp_path, "ben", {"name": "x" * 1_000_000})
    assert load_preferences(tmp_path, "ann") == {"page_size": 9}
    assert "expected at most" in caplog.text


@pytest.mark.parametrize("kept", ["abc", 7, None, [], [["stretch", 1]]])
def test_what_is_no_table_is_nothing(tmp_path, kept):
    (tmp_path / "app.json").write_text(json.dumps({"ann": kept}))
    assert load_preferences(tmp_path, "ann") == {}


@pytest.mark.parametrize("labels", [[], {}, None, 7, "ring"])
def test_filters_that_were_not_renamed_stay_as_they_are(tmp_path, labels):
    save_preferences(tmp_path, "ann", {"filters": {"labels": labels}})
    assert load_preferences(tmp_path, "ann") == {"filters": {"labels": labels}}


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.sampled_from(["rgb", "asinh"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
names = st.sampled_from([*Display().to_plain(), "curve", "other"])
plains = values | st.dictionaries(names, values, max_size=5)


@given(plains | st.fixed_dictionaries({"stretch": st.dictionaries(st.sampled_from(["curve", "low", "scope"]), values)}))
def test_a_display_is_read_or_refused_whatever_is_there(plain):
    try:
        found = Display.from_plain(plain)
    except ConfigError:
        return
    assert Display.from_plain(json.loads(json.dumps(found.to_plain()))) == found


@pytest.mark.parametrize("plain", ["abc", None, 3, [], {"stretch": "abc"}, {"stretch": None}, {"colours": []}, {1: 2}])
def test_a_display_that_is_none_says_so(plain):
    with pytest.raises(ConfigError):
        Display.from_plain(plain)
