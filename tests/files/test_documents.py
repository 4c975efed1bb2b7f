"""JSON and TOML that somebody damaged, or made to harm: one error that names the file."""

import json
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from astroanomaly.errors import CacheError, ConfigError, SessionError, UnreadableError
from astroanomaly.files import read_json, read_toml, write_json

DAMAGED = {
    "empty": b"",
    "cut short": b'{"a": [1, 2',
    "no text": b'{"a": "\xe9"}',
    "no object": b"[1, 2]",
    "a number": b"3",
    "nothing": b"null",
    "deep": b'{"a": ' + b"[" * 100 + b"]" * 100 + b"}",
    "very deep": b'{"a":' * 200_000,
    "a long number": b'{"a": ' + b"9" * 5000 + b"}",
    "too large": b'{"a": "' + b"x" * 2000 + b'"}',
    "zeros": bytes(500),
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_damaged_json_is_an_error_that_names_the_file_and_what_to_do(tmp_path, content):
    path = tmp_path / "it.json"
    path.write_bytes(content)
    limit = 1000 if len(content) == 2009 else 2**21
    with pytest.raises(SessionError, match=r"it\.json (is damaged|has more than).*; ask Ann|: ask Ann") as caught:
        read_json(path, error=SessionError, remedy="ask Ann", max_bytes=limit)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400 + len(str(path))


@pytest.mark.parametrize(
    "content",
    [b"a = ", b"a = '\xe9'", b"a = " + b"[" * 200_000, b"a = " + b"[" * 100 + b"]" * 100, b"a." * 100 + b"a = 1",
     b"a = " + b"9" * 5000, b"\0" * 10, b"a = 1\na = 2", b"#" + b"x" * 5 * 2**20],
    ids=range(9),
)  # fmt: skip
def test_damaged_toml_is_an_error_that_names_the_file(tmp_path, content):
    path = tmp_path / "it.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"it\.toml .*restore it from a copy"):
        read_toml(path)


@pytest.mark.parametrize("read", [read_json, read_toml])
def test_what_is_no_plain_file_is_not_read(tmp_path, read):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name, why in {
        "pipe": "no plain file",
        "zero": "no plain file",
        ".": "no plain file",
        "gone": "not exist",
    }.items():
        with pytest.raises(UnreadableError, match=why):
            read(tmp_path / name)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.text(max_size=5), VALUES, max_size=4), st.integers(0, 200), st.binary(max_size=3))
def test_what_was_written_is_read_and_what_is_changed_is_refused_or_an_object(tmp_path, content, place, noise):
    path = tmp_path / "it.json"
    write_json(path, content)
    assert read_json(path) == content
    data = path.read_bytes()
    path.write_bytes(data[:place] + noise + data[place + 1 :])
    found, said = {}, str(path)
    try:
        found = read_json(path)
    except CacheError as error:
        said = str(error)
    assert isinstance(found, dict)
    assert said.startswith(str(path))


def test_the_largest_that_is_allowed_is_read(tmp_path):
    path = tmp_path / "it.json"
    path.write_text(json.dumps({"a": "x" * 992}))
    assert path.stat().st_size == 1001
    with pytest.raises(CacheError, match="more than 1000 bytes"):
        read_json(path, max_bytes=1000)
    assert read_json(path, max_bytes=1001)["a"] == "x" * 992
    nested = json.dumps({"a": 1})
    for _ in range(62):
        nested = f"[{nested}]"
    path.write_text(f'{{"deep": {nested}}}')
    assert read_json(path)["deep"]
