"""The YAML with which astropy describes columns in ECSV and FITS: checked, for it may describe memory it has not."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from astroanomaly.errors import UnreadableError

__all__ = ["check_yaml", "serialized_columns"]

_MAX_CHARACTERS = 2**20  # of the header of an ECSV table: some 10,000 columns
_MAX_DEPTH = 50
_BEGIN, _END = "--BEGIN-ASTROPY-SERIALIZED-COLUMNS--", "--END-ASTROPY-SERIALIZED-COLUMNS--"
_CARD_CHARACTERS = 70  # a longer line of YAML goes on in the next COMMENT, after a backslash
_ARRAYS = ("!numpy.ndarray", "!numpy.void")
_ARRAY_KEYS = {"buffer", "dtype", "shape", "order"}
_PLAIN_TYPES = re.compile(r"[<>=|]?[biufcSU]\d*|bool_?|u?int\d+|float\d+|complex\d+|(str|bytes)\d*")
_MERGE = "tag:yaml.org,2002:merge"


def check_yaml(text: str, where: str) -> None:
    """Refuse YAML from which astropy would make arrays of objects out of bytes, or that grows while it is read.

    Raises
    ------
    UnreadableError
        For that, or YAML that cannot be read.
    """
    import yaml

    if len(text) > _MAX_CHARACTERS:
        raise UnreadableError(f"the header of {where} is longer than the {_MAX_CHARACTERS >> 20} MiB that are read")
    try:
        _check_depth(text, where)
        nodes = [yaml.compose(text, Loader=yaml.SafeLoader)]
    except yaml.YAMLError as error:
        reason = (str(error).splitlines() or [""])[0]
        raise UnreadableError(f"the header of {where} is no YAML: {reason}") from error
    seen: set[int] = set()
    while nodes:
        node = nodes.pop()
        if id(node) in seen or node is None:
            continue
        seen.add(id(node))
        if node.tag == _MERGE or (node.tag.startswith("!numpy.") and not _is_plain(node)):
            raise UnreadableError(
                f"the header of {where} holds what a table does not need ({node.tag.rpartition(':')[2]}) and what may "
                "harm who reads it: save the table again without its meta data"
            )
        if isinstance(node, yaml.MappingNode):
            nodes += [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            nodes += node.value


def _check_depth(text: str, where: str) -> None:
    import yaml

    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _MAX_DEPTH:
            raise UnreadableError(f"the header of {where} is nested {_MAX_DEPTH} deep and deeper: no table needs that")


def _is_plain(node: Any) -> bool:
    """Whether an array is one of plain numbers or texts: others would be pointers, made of any bytes."""
    import yaml

    if node.tag not in _ARRAYS or not isinstance(node, yaml.MappingNode):
        return False
    parts = {key.value: value for key, value in node.value}
    kind = parts.get("dtype")
    return (
        set(parts) <= _ARRAY_KEYS
        and isinstance(kind, yaml.ScalarNode)
        and _PLAIN_TYPES.fullmatch(kind.value) is not None
    )


def serialized_columns(comments: Iterable[str]) -> str:
    """Return the YAML that astropy keeps in the comments of a FITS table, empty without."""
    lines: list[str] = []
    inside = goes_on = False
    for comment in comments:
        if comment == _END:
            break
        if inside:
            part = comment[:_CARD_CHARACTERS]
            if goes_on:
                lines[-1] += part
            else:
                lines.append(part)
            goes_on = len(comment) == _CARD_CHARACTERS + 1
        inside = inside or comment == _BEGIN
    return "\n".join(lines)
