"""The YAML with which astropy describes columns: checked, for it may describe memory it has not."""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from astroanomaly.errors import UnreadableError

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["check_yaml", "column_notes", "join_masks", "serialized_columns"]

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


@functools.lru_cache(maxsize=8)  # a file that is read in blocks has the same in each
def column_notes(text: str, where: str) -> dict[str, dict[str, str]]:
    """Return what YAML of astropy says of columns, by name: ``unit`` and ``ucd``, where there are such.

    It is only read: whatever its tags say, no object is made.

    Raises
    ------
    UnreadableError
        As `check_yaml`.
    """
    import yaml

    if not text:
        return {}
    check_yaml(text, where)
    entries = _parts(yaml.compose(text, Loader=yaml.SafeLoader)).get("datatype")
    found = {}
    for entry in entries.value if isinstance(entries, yaml.SequenceNode) else ():
        about = _parts(entry)
        unit, ucd = about.get("unit"), _parts(about.get("meta")).get("ucd")
        unit = _parts(unit).get("unit", unit)  # of a tagged unit
        texts = {key: node.value for key, node in (("unit", unit), ("ucd", ucd)) if isinstance(node, yaml.ScalarNode)}
        if isinstance(about.get("name"), yaml.ScalarNode):
            found[about["name"].value] = texts
    return found


def _parts(node: Any) -> dict[str, Any]:
    """Return the nodes of a mapping, or of a list of pairs, by their keys."""
    import yaml

    if isinstance(node, yaml.SequenceNode):
        return {key: part for pair in node.value if isinstance(pair, yaml.MappingNode) for key, part in _pairs(pair)}
    return dict(_pairs(node)) if isinstance(node, yaml.MappingNode) else {}


def _pairs(node: Any) -> list[tuple[str, Any]]:
    return [(str(key.value), part) for key, part in node.value]


def join_masks(table: Table, described: Collection[str]) -> None:
    """Mask the columns that astropy has written as two, ``NAME`` and ``NAME.mask``; the masks go.

    Parameters
    ----------
    table
        The table, which is changed.
    described
        The columns that astropy has described.
    """
    from astropy.table import MaskedColumn

    for name in described:
        mask = f"{name}.mask"
        if mask in described and {name, mask} <= set(table.colnames) and table[mask].dtype.kind == "b":
            table[name] = MaskedColumn(table[name], mask=np.asarray(table[mask]))
            table.remove_column(mask)


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
