"""Which objects are shown: by label, annotator, score, region of the sky, or an expression over catalogue columns."""

from __future__ import annotations

import ast
import operator
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from astroanomaly.config import nearest
from astroanomaly.errors import AstroAnomalyError, ConfigError
from astroanomaly.labels.consensus import ObjectConsensus
from astroanomaly.sky import read_angle, read_position

__all__ = ["SPECIAL", "Filters", "RejectedFilter", "change_filters", "evaluate", "within"]

UNLABELLED, LABELLED, EVERYTHING = "unlabelled", "labelled", "everything"
NOT_MINE = "not labelled by me"  # blind: the verdicts of others are hidden
SPECIAL: dict[str, Callable[[ObjectConsensus], bool]] = {  # what else the page can show only
    "skipped": lambda one: one.skipped,
    "flagged": lambda one: one.flagged,
    "disagreed": lambda one: one.is_disagreed,
    "decided": lambda one: bool(one.decision),
}
_MAX_CHARACTERS = 1000  # characters of an expression
_MAX_INTEGER = 2**63  # whole numbers beyond it are not exact any more
_COMPARISONS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge, ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}  # fmt: skip
_INTEGER_OPERATORS: dict[type, Callable[[Any, Any], Any]] = {  # exact on whole numbers
    ast.Add: np.add, ast.Sub: np.subtract, ast.Mult: np.multiply, ast.Mod: np.mod,
}  # fmt: skip
_REAL_OPERATORS: dict[type, Callable[[Any, Any], Any]] = {
    **_INTEGER_OPERATORS,
    ast.Div: np.true_divide,
    ast.Pow: np.float_power,
}
_BIT_OPERATORS: dict[type, Callable[[Any, Any], Any]] = {ast.BitAnd: np.bitwise_and, ast.BitOr: np.bitwise_or}
_FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "abs": np.abs, "sqrt": np.sqrt, "log": np.log, "log10": np.log10, "exp": np.exp, "isfinite": np.isfinite,
}  # fmt: skip


@dataclass(frozen=True)
class Filters:
    """Conditions on the objects that are shown.

    Attributes
    ----------
    labels
        ``unlabelled``, ``labelled``, ``everything``, ``not labelled by me``, ``skipped``, ``flagged``, ``disagreed``
        (people differ, and nobody has decided), ``decided``, ``disputed``, a label class, or a grade ``or better``.
    annotator
        Only objects this person gave a verdict on; empty: anybody's.
    without
        Only objects this person has neither labelled nor skipped; empty: whoever did.
    lowest, highest
        Range of the score; None: open.
    region
        ``ra dec radius`` as in ``150.1 +2.2 0.5deg``; empty: the whole sky.
    expression
        Over catalogue columns, as in ``mag < 22 and abs(colour) > 0.5``; empty: all.
    known
        ``known``, ``not known`` or ``not looked up``, by the crossmatches; empty: all.
    """

    labels: str = UNLABELLED
    annotator: str = ""
    without: str = ""
    lowest: float | None = None
    highest: float | None = None
    region: str = ""
    expression: str = ""
    known: str = ""

    def words(self) -> list[str]:
        """Say what holds, condition by condition, for the person at the page; always at least one."""
        parts = [self.labels]
        if self.annotator:
            parts.append(f"labelled by {self.annotator}")
        if self.lowest is not None:
            parts.append(f"score ≥ {self.lowest:g}")
        if self.highest is not None:
            parts.append(f"score ≤ {self.highest:g}")
        if self.region:
            parts.append(f"within {self.region}")
        if self.expression:
            parts.append(self.expression)
        if self.known:
            parts.append(self.known)
        return parts


@dataclass(frozen=True)
class RejectedFilter:
    """What somebody asked for that cannot be, and why."""

    value: Any
    why: str


def change_filters(
    holding: Filters,
    rejected: Mapping[str, RejectedFilter],
    changes: Mapping[str, Any],
    check: Callable[[Filters], object],
) -> tuple[Filters, dict[str, RejectedFilter]]:
    """Change filters: what cannot be changes nothing, and is kept aside until it can be.

    Parameters
    ----------
    holding
        The filters in force.
    rejected
        Fields that were rejected before, which are tried again: what was wrong may have been another field.
    changes
        New values by field, taken together or not at all.
    check
        Called with filters; raises an `astroanomaly.AstroAnomalyError` where they cannot be.

    Returns
    -------
    tuple
        The filters in force, and by field what is rejected.
    """

    def why_not(values: Mapping[str, Any]) -> str:
        tried = replace(holding, **values)
        low, high = tried.lowest, tried.highest
        try:
            if low is not None and high is not None and low > high:
                raise ConfigError(f"no score is above {low:g} and below {high:g}: the minimum exceeds the maximum")
            check(tried)
        except AstroAnomalyError as error:
            return str(error)
        return ""

    wrong = {name: item for name, item in rejected.items() if name not in changes}
    why = why_not(changes)
    if why:
        alone = {name: RejectedFilter(value, why_not({name: value})) for name, value in changes.items()}
        refused = {name: item for name, item in alone.items() if item.why}
        return holding, wrong | (refused or {name: RejectedFilter(value, why) for name, value in changes.items()})
    holding = replace(holding, **changes)
    while found := [name for name, item in wrong.items() if not why_not({name: item.value})]:
        holding = replace(holding, **{found[0]: wrong.pop(found[0]).value})
    return holding, wrong


def within(region: str, ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    """``(N,)`` boolean: which positions lie in a cone.

    Parameters
    ----------
    region
        Right ascension, declination and radius, separated by blanks or commas. Degrees or sexagesimal; the radius is in
        degrees unless it has a unit.
    ra, dec
        ``(N,)`` ICRS degrees, NaN where unknown.

    Raises
    ------
    ConfigError
        If it cannot be read as a cone.
    """
    from astropy.coordinates import angular_separation

    *position, radius = region.replace(",", " ").split() or [""]
    try:
        center = read_position(" ".join(position))
        limit = read_angle(radius, "deg", plain="deg")
        if not 0 < limit <= 180:
            raise ConfigError(f"a radius of {limit:g} degrees")
    except ConfigError as error:
        raise ConfigError(
            f"cannot read the region {region!r}: expected a position and a radius, as in '150.1 +2.2 0.5deg' or "
            "'10:00:24 +02:12:00 2arcmin'"
        ) from error
    separation: np.ndarray = angular_separation(*np.radians(center), np.radians(ra), np.radians(dec))
    return separation <= np.radians(limit)


def evaluate(expression: str, columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """Evaluate a comparison of columns.

    Comparisons, ``and``, ``or``, ``not``, arithmetic, text in quotes, and abs, sqrt, log, log10, exp, isfinite are
    understood, and nothing else: the text comes from a browser. A column whose name is no Python name is written in
    backquotes.

    Parameters
    ----------
    expression
        As in ``mag < 22 and type == "GAL"``.
    columns
        By name, each ``(n,)``.

    Returns
    -------
    numpy.ndarray
        ``(n,)`` boolean.

    Raises
    ------
    ConfigError
        If it cannot be read, names an unknown column, or is no comparison.
    """
    if len(expression) > _MAX_CHARACTERS:
        raise ConfigError(f"the expression has {len(expression)} characters: expected at most {_MAX_CHARACTERS}")
    names, text = dict(columns), expression.strip()
    parts = text.split("`")
    if len(parts) % 2 == 0:
        raise ConfigError(f"cannot read {expression!r}: a backquote is not closed")
    for number in range(1, len(parts), 2):
        if parts[number] not in columns:
            raise _unknown(parts[number], columns)
        names[f"_quoted_{number}"] = columns[parts[number]]
        parts[number] = f"_quoted_{number}"
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")  # what Python has to say of the style of an expression
            result = np.asarray(_value(ast.parse("".join(parts), mode="eval").body, names, expression))
    except ConfigError:
        raise
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ConfigError(f"cannot read {expression!r}: expected a comparison, as in 'mag < 22'") from error
    except Exception as error:
        raise ConfigError(f"{expression!r} cannot be evaluated: {error}") from error
    if result.dtype != bool or result.ndim != 1:
        raise ConfigError(f"{expression!r} is not a comparison of columns, as in 'mag < 22'")
    return result


def _value(node: ast.AST, names: Mapping[str, Any], whole: str) -> Any:
    def of(child: ast.AST) -> Any:
        return _value(child, names, whole)

    def number(child: ast.AST) -> Any:
        return _number(of(child), whole)

    if isinstance(node, ast.Name):
        if node.id not in names:
            raise _unknown(node.id, names)
        return _readable(np.asarray(names[node.id]))
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float | str):
        if isinstance(node.value, int) and not -_MAX_INTEGER < node.value < _MAX_INTEGER:
            raise ConfigError(f"{whole!r} has a number of more than 63 bits: write it as in 1e30")
        return node.value
    if isinstance(node, ast.Compare):
        values = [of(node.left), *map(of, node.comparators)]
        kinds = [type(item) for item in node.ops]
        if all(kind in _COMPARISONS for kind in kinds):
            if len({np.asarray(value).dtype.kind == "U" for value in values}) > 1:
                raise ConfigError(f"{whole!r} compares what cannot be compared: text is written in quotes")
            results = [_COMPARISONS[k](a, b) for k, a, b in zip(kinds, values[:-1], values[1:], strict=True)]
            return np.logical_and.reduce(np.broadcast_arrays(*results)) if len(results) > 1 else results[0]
    if isinstance(node, ast.BoolOp):
        combine = np.logical_and if isinstance(node.op, ast.And) else np.logical_or
        return combine.reduce(np.broadcast_arrays(*(_boolean(of(value), whole) for value in node.values)))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.Invert):
        return ~_boolean(of(node.operand), whole)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        return np.negative(number(node.operand)) if isinstance(node.op, ast.USub) else number(node.operand)
    if isinstance(node, ast.BinOp) and type(node.op) in _BIT_OPERATORS:
        return _BIT_OPERATORS[type(node.op)](number(node.left), number(node.right))
    if isinstance(node, ast.BinOp) and type(node.op) in _REAL_OPERATORS:
        return _calculate(type(node.op), number(node.left), number(node.right), whole)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and len(node.args) == 1 and not node.keywords:
        if node.func.id in _FUNCTIONS:
            return _FUNCTIONS[node.func.id](number(node.args[0]))
        raise ConfigError(f"there is no function {node.func.id!r} (known: {', '.join(_FUNCTIONS)})")
    raise ConfigError(f"cannot read {whole!r}: expected a comparison, as in 'mag < 22 and type == \"GAL\"'")


def _readable(column: np.ndarray) -> np.ndarray:
    """Return a column as numbers or text."""
    if column.dtype.kind == "S":
        return np.char.decode(column, "utf-8", "replace")
    return column.astype(str) if column.dtype.kind == "O" else column


def _number(value: Any, whole: str) -> Any:
    """Let through what one can calculate with: whole numbers as int64, others as they are."""
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise ConfigError(f"{whole!r} calculates with text: expected numbers")
    if array.dtype.kind == "f":
        return value
    if array.dtype.kind == "u" and array.size and array.max() >= _MAX_INTEGER:
        return array.astype(np.float64)
    return array if array.dtype == bool else array.astype(np.int64)


def _calculate(operation: type, a: Any, b: Any, whole: str) -> Any:
    """Calculate without an error or a wrong number: what does not fit 63 bits becomes a real number."""
    if operation in (ast.Div, ast.Mod) and np.ndim(b) == 0 and b == 0:
        raise ConfigError(f"{whole!r} divides by zero")
    real = [np.asarray(v, np.float64) if np.asarray(v).dtype.kind in "biu" and np.ndim(v) else v for v in (a, b)]
    result = _REAL_OPERATORS[operation](*real)
    if operation in _INTEGER_OPERATORS and all(np.asarray(v).dtype.kind in "biu" for v in (a, b)):
        fits = np.isfinite(result) & (np.abs(result) < 0.99 * _MAX_INTEGER)
        if np.all(fits):
            return _INTEGER_OPERATORS[operation](np.asarray(a, np.int64), np.asarray(b, np.int64))
    return result


def _boolean(value: Any, whole: str) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype != bool:
        raise ConfigError(f"{whole!r}: 'and', 'or' and 'not' stand between comparisons")
    return array


def _unknown(name: str, names: Mapping[str, Any]) -> ConfigError:
    known = [other for other in names if not other.startswith("_quoted_")]
    return ConfigError(f"there is no column {name!r}{nearest(name, known)} (known: {', '.join(known)})")
