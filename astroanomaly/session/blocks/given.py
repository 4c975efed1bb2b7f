"""The blocks of a session: which numbers stand beside the image of each object, and where they are from."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astroanomaly.cache.object_tables import catalog_columns
from astroanomaly.config import build, nearest
from astroanomaly.errors import CatalogError, ConfigError
from astroanomaly.labels.matching import id_column_of, match_rows
from astroanomaly.labels.options import LabelOptions
from astroanomaly.labels.truth_columns import truth_columns
from astroanomaly.learn.features.block_files import write_block
from astroanomaly.learn.features.block_options import BlockOptions
from astroanomaly.learn.features.blocks import column_numbers
from astroanomaly.learn.features.compare import TOGETHER
from astroanomaly.learn.rankers.score_parts import IMAGE, OUTLIERS
from astroanomaly.records import FeatureBlock
from astroanomaly.tables.arrays import is_arrays, read_arrays
from astroanomaly.tables.column_names import LABELLED_ID_NAMES, SKY_NAMES, find_name, find_pair
from astroanomaly.tables.given import GivenTable, given_catalog
from astroanomaly.tables.read import column_texts, read_table

if TYPE_CHECKING:
    from astropy.table import Table

    from astroanomaly.cache import Cache

__all__ = [
    "BLOCKS",
    "COLUMNS",
    "GivenBlock",
    "block_name",
    "catalog_block",
    "is_stored_block",
    "read_blocks",
    "said_of",
    "stored_blocks",
]

BLOCKS = "blocks"  # folder of a session
COLUMNS = "columns"  # name of the block of catalogue columns
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,39}")
_TAKEN = (IMAGE, OUTLIERS, COLUMNS, TOGETHER, "score", "object_id")
_EXAMPLES = 3  # named in a message
_MAX_NUMBERS = 16_384  # of an object in one block
_FEWEST = 20  # objects that the scale of a block is measured on
_MOST_LISTED = 8  # columns named in a message


@dataclass(frozen=True, eq=False)
class GivenBlock:
    """A block that a new session gets.

    Attributes
    ----------
    block
        What rankers look at, without its folder.
    messages
        What a person should know of it.
    ids, values
        Object ids, and ``(m, D)`` their numbers; None for columns of the cache.
    about
        Where they are from, in plain values.
    """

    block: FeatureBlock
    messages: tuple[str, ...]
    ids: Sequence[str] = ()
    values: np.ndarray | None = None
    about: Mapping[str, Any] | None = None

    def write(self, session: Path) -> None:
        """Keep the numbers in a session's folder, unless they are in its caches."""
        if self.values is not None:
            write_block(session / BLOCKS / self.block.name, self.ids, self.values, dict(self.about or {}))

    def to_plain(self) -> dict[str, Any]:
        """Return what the session's file says of it."""
        return {
            "name": self.block.name,
            "columns": list(self.block.columns),
            "units": list(self.block.units),
            "kept": self.values is not None,
        }


def stored_blocks(content: Mapping[str, Any], session: Path) -> tuple[FeatureBlock, ...]:
    """Return the blocks that the file of a session, checked, names."""
    weight = build(BlockOptions, content["settings"].get("blocks", {}), "blocks").weight
    return tuple(
        FeatureBlock(
            name=one["name"],
            columns=tuple(one["columns"]),
            units=tuple(one["units"]),
            folder=str(session.absolute() / BLOCKS / one["name"]) if one["kept"] else "",
            weight=weight,
        )
        for one in content.get("blocks", ())
    )


def is_stored_block(plain: Any) -> bool:
    """Whether the file of a session describes a block as `GivenBlock.to_plain` does."""
    if not isinstance(plain, dict) or plain.keys() != {"name", "columns", "units", "kept"}:
        return False
    columns, units = plain["columns"], plain["units"]
    lists = isinstance(columns, list) and isinstance(units, list) and 0 < len(columns) == len(units)
    return (
        lists
        and isinstance(plain["name"], str)
        and _NAME.fullmatch(plain["name"]) is not None
        and isinstance(plain["kept"], bool)
        and all(isinstance(text, str) for text in (*columns, *units))
    )


def read_blocks(
    given: Mapping[str, Any], cache: Cache, config: BlockOptions, classes: Sequence[str]
) -> list[GivenBlock]:
    """Read the blocks of a new session: the columns that its settings name, then those that are given.

    Parameters
    ----------
    given
        Path of a table, or a table, by the name of the block; ``NAME:COLUMN,COLUMN`` takes these columns only.
    cache
        The objects.
    config
        The settings of blocks.
    classes
        Label classes, of which no column may tell.

    Raises
    ------
    ConfigError
        For a name that cannot be, or a column that seems to tell the class.
    CatalogError, UnreadableError
        If there is no such column, it holds no numbers, or none of its rows is about an object.
    LabelError
        If a row may be about several objects.
    """
    found = list(catalog_block(cache, config, classes))
    names = {one.block.name for one in found}
    for key, value in given.items():
        name, columns = block_name(key, names)
        wanted = [text.strip() for text in columns.split(",") if text.strip()]
        found.append(_table_block(name, wanted, value, cache, config, classes))
    return found


def block_name(key: str, taken: set[str]) -> tuple[str, str]:
    """Return the name of a block that is given as ``NAME`` or ``NAME:MORE``, and what follows; it is taken then.

    Raises
    ------
    ConfigError
        If it cannot be, or is the name of another block.
    """
    name, _, more = str(key).partition(":")
    name = name.strip()
    if not _NAME.fullmatch(name) or name in _TAKEN:
        raise ConfigError(
            f"the block {name!r}: expected a name of up to 40 letters, digits, - and _, other than {', '.join(_TAKEN)}"
        )
    if name in taken:
        raise ConfigError(f"there are two blocks {name!r}: give each a name of its own")
    taken.add(name)
    return name, more


# ---------------------------------------------------------------------------------------------- columns of the cache


def catalog_block(cache: Cache, config: BlockOptions, classes: Sequence[str]) -> Iterator[GivenBlock]:
    """Give the block of catalogue columns that settings name; none where they name none.

    Raises
    ------
    ConfigError, CatalogError
        As `read_blocks`.
    """
    if not config.columns:
        return
    columns = catalog_columns(cache, config.columns)
    units = [str(getattr(column, "unit", None) or "") for column in columns.values()]
    _refuse_truth(columns, classes, config, "the catalogue of the cache")
    values = np.stack(
        [column_numbers(column, "", f"blocks.columns: {name!r}") for name, column in columns.items()], axis=1
    )
    _refuse_empty(list(columns), values, "the catalogue of the cache")
    block = FeatureBlock(COLUMNS, tuple(columns), tuple(units), weight=config.weight)
    yield GivenBlock(block, tuple(said_of(COLUMNS, list(columns), values, cache)))


# ------------------------------------------------------------------------------------------------------------- tables


def _table_block(
    name: str, wanted: list[str], given: Any, cache: Cache, config: BlockOptions, classes: Sequence[str]
) -> GivenBlock:
    """Read a block from a table by object id, or by position."""
    table, where, about = _read(given, name)
    id_column = id_column_of(table, cache.ids)
    columns, left_out = _number_columns(table, wanted, id_column, where)
    _refuse_truth({key: table[key] for key in columns}, classes, config, where)
    matched = match_rows(table, where, cache.ids, cache.positions, LabelOptions(skip_unmatched=True))
    objects, messages = matched.objects, [f"block {name}: {text}" for text in matched.messages]
    known = np.array([bool(object_id) for object_id in objects], bool)
    if not known.any():
        raise CatalogError(f"block {name}: none of the {len(table)} rows of {where} is about an object of the cache")
    rows = [k for k, object_id in enumerate(objects) if object_id]
    repeated = _first_repeated([objects[k] for k in rows])
    if repeated:
        raise CatalogError(f"block {name}: {where} has several rows about the object {repeated!r}, expected one")
    values, names = _numbers(table, columns, where)
    _refuse_empty(names, values[rows], where)
    messages += said_of(name, names, values[rows], cache, [objects[k] for k in rows])
    if left_out:
        messages.append(f"block {name}: no numbers for each object, and left out: {_listed(left_out)}")
    ids = [objects[k] for k in rows]
    if not known.all():
        messages.append(f"block {name}: {(~known).sum()} of {len(known)} rows of {where} match no object")
        if id_column is not None and not any(matched.names):  # a cache that joins later may have these
            others = column_texts(table[id_column])
            more = {text: k for k, text in reversed(list(enumerate(others))) if not known[k] and text}
            there = set(ids)
            fresh = [text for text in more if text not in there]
            rows, ids = rows + [more[text] for text in fresh], ids + fresh
    block = FeatureBlock(name, tuple(names), ("",) * len(names), weight=config.weight)
    about = {"name": name, "columns": names, "objects": int(known.sum()), **about}
    return GivenBlock(block, tuple(messages), ids, values[rows], about)


def _read(given: Any, name: str) -> tuple[Table, str, dict[str, Any]]:
    """Return a table, how messages call it, and what is kept of where it is from."""
    found = given_catalog(given, f"block {name}")
    if found is None:
        raise ConfigError(f"block {name}: nothing was given, expected the path of a table, or an astropy Table")
    if isinstance(found, GivenTable):
        return found.table, f"the table of the block {name}", {"source": str(found)}
    if not found.is_file():
        table = read_table(found, _has_numbers, _id_name)  # which says what is wrong with it
        return table, str(found), {"source": found.name}
    with found.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    table = read_arrays(found) if is_arrays(found) else read_table(found, _has_numbers, _id_name)
    return table, str(found), {"source": found.name, "sha256": digest}


def _has_numbers(table: Table) -> bool:
    return any(_is_numbers(table[name]) for name in table.colnames)


def _is_numbers(column: Any) -> bool:
    """Whether a column holds one number, or a vector of them, for each object; positions have neither axes nor type."""
    return getattr(column, "ndim", 0) in (1, 2) and getattr(column, "dtype", np.dtype("U1")).kind in "iufb"


def _id_name(names: Sequence[str]) -> str | None:
    return find_name(names, LABELLED_ID_NAMES)


def _number_columns(table: Table, wanted: list[str], id_column: str | None, where: str) -> tuple[list[str], list[str]]:
    """Return the columns of a table that are taken, and those that are left out though nobody said so."""
    if wanted:
        for name in wanted:
            if name not in table.colnames:
                raise CatalogError(
                    f"{where} has no column {name!r}{nearest(name, table.colnames)} (it has {_listed(table.colnames)})"
                )
        return wanted, []
    places = find_pair(table.colnames, SKY_NAMES) or ()
    taken = [
        name for name in table.colnames if name != id_column and name not in places[:2] and _is_numbers(table[name])
    ]
    if not taken:
        raise CatalogError(f"{where} has no column of numbers (it has {_listed(table.colnames)})")
    return taken, [name for name in table.colnames if name not in taken and name != id_column]


def _numbers(table: Table, columns: Sequence[str], where: str) -> tuple[np.ndarray, list[str]]:
    """``(n, D)`` float32 numbers of columns, of which each may hold several for an object, and a name for each."""
    parts, names = [], []
    for name in columns:
        column = table[name]
        if getattr(column, "ndim", 1) == 2:
            parts += [column_numbers(column[:, k], "", f"{where}: {name!r}") for k in range(column.shape[1])]
            names += [f"{name}_{k}" for k in range(column.shape[1])]
        else:
            parts.append(column_numbers(column, "", f"{where}: the column {name!r}"))
            names.append(name)
        if len(names) > _MAX_NUMBERS:
            raise CatalogError(f"{where} has more than {_MAX_NUMBERS} numbers for each object: take fewer columns")
    with np.errstate(over="ignore"):
        return np.stack(parts, axis=1).astype(np.float32), names


# ---------------------------------------------------------------------------------------------------- what is refused


def _refuse_truth(columns: Mapping[str, Any], classes: Sequence[str], config: BlockOptions, where: str) -> None:
    telling = sorted(truth_columns({name: np.ma.getdata(one) for name, one in columns.items()}, classes))
    if telling and not config.allow_truth:
        raise ConfigError(
            f"{where}: the column {telling[0]!r} looks like the class of an object, which rankers must not be told. "
            "Name the columns that are wanted, without it; or, if it is none, set blocks.allow_truth=true"
        )


def _refuse_empty(names: Sequence[str], values: np.ndarray, where: str) -> None:
    empty = np.flatnonzero(~np.isfinite(values).any(axis=0))
    if len(empty):
        raise CatalogError(f"{where}: the column {names[int(empty[0])]!r} has no number for any object")


def _first_repeated(names: Sequence[str]) -> str:
    seen: set[str] = set()
    return next((name for name in names if name in seen or seen.add(name)), "")  # type: ignore[func-returns-value]


def said_of(
    name: str, columns: Sequence[str], values: np.ndarray, cache: Cache, objects: Sequence[str] | None = None
) -> Iterator[str]:
    """Say what a block has, and of which objects it has nothing."""
    count = "1 number" if len(columns) == 1 else f"{len(columns)} numbers"
    yield f"block {name}: {count} beside the image ({_listed(columns)})"
    nothing = ~np.isfinite(values).any(axis=1)
    there = np.zeros(len(cache), bool)
    there[slice(None) if objects is None else cache.rows(list(objects))] = ~nothing
    missing = np.flatnonzero(~there)
    if len(missing):
        some = ", ".join(cache.ids_at(missing[:_EXAMPLES]))
        more = " ..." if len(missing) > _EXAMPLES else ""
        yield f"block {name}: nothing is known of {len(missing)} of {len(cache)} objects: {some}{more}"
    if there.sum() < _FEWEST:
        yield (
            f"block {name}: numbers of {there.sum()} objects, fewer than {_FEWEST}: their scale is uncertain, and the "
            "block says little"
        )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_MOST_LISTED]) + (" ..." if len(names) > _MOST_LISTED else "")
