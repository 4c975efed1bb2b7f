"""The fraction of injections that a search would find, by brightness and by size, with binomial intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from astroanomaly.metrics import binomial_interval
from astroanomaly.session.injection.request import InjectionRequest

if TYPE_CHECKING:
    from astropy.table import QTable

__all__ = ["LEVEL", "Axis", "Efficiency", "Row"]

LEVEL = 0.9  # of the intervals
_BRIGHTNESS_BINS, _SIZE_BINS = 6, 4


@dataclass(frozen=True, eq=False)
class Axis:
    """What the fraction is a function of.

    Parameters
    ----------
    name
        Of its columns: ``magnitude``, ``flux``, ``relative`` or ``size``.
    text
        What it is, in words, without the unit.
    unit
        FITS unit, or empty.
    edges
        ``(bins + 1,)`` rising edges of the bins.
    logarithmic
        Whether the bins are even in the logarithm.
    """

    name: str
    text: str
    unit: str
    edges: np.ndarray
    logarithmic: bool

    @classmethod
    def of_brightness(cls, request: InjectionRequest, unit: str) -> Axis:
        """Return the axis of brightness; ``unit`` is that of a flux."""
        given = request.brightness
        text = {
            "magnitude": f"AB magnitude in {given.band}",
            "flux": f"flux in {given.band}",
            "relative": "flux, relative to the host",
        }[given.quantity]
        units = {"magnitude": "mag", "flux": unit, "relative": ""}
        edges = _edges(given.low, given.high, _BRIGHTNESS_BINS, given.logarithmic)
        return cls(given.quantity, text, units[given.quantity], edges, given.logarithmic)

    @classmethod
    def of_size(cls, request: InjectionRequest) -> Axis:
        """Return the axis of size, in arcseconds where the cutouts have a WCS."""
        on_sky = bool(np.isfinite(request.scale_arcsec))
        low, high = (float(f"{size * (request.scale_arcsec if on_sky else 1.0):.6g}") for size in request.size_px)
        bins = _SIZE_BINS if high > low else 1
        return cls("size", request.kind.size, "arcsec" if on_sky else "pix", _edges(low, high, bins, True), True)

    @property
    def label(self) -> str:
        """What it is, with its unit."""
        return f"{self.text} [{self.unit}]" if self.unit else self.text

    def place(self, values: np.ndarray) -> np.ndarray:
        """Return the bin of each value; what lies on an end, or beyond it by a rounding error, is in the outermost."""
        return np.clip(np.searchsorted(self.edges, values, "right") - 1, 0, len(self.edges) - 2)


@dataclass(frozen=True)
class Row:
    """The fraction found of some injections: counts, fraction, and its interval."""

    n: int
    found: int
    fraction: float
    low: float
    high: float

    @classmethod
    def of(cls, found: int, n: int) -> Row:
        """Make it from the counts; without any injection all but the counts are NaN."""
        low, high = binomial_interval(np.array([found]), np.array([n]), level=LEVEL)
        return cls(int(n), int(found), float(found / n) if n else float("nan"), float(low[0]), float(high[0]))


@dataclass(frozen=True, eq=False)
class Efficiency:
    """How many injections there are, and how many are found, in bins of brightness and size.

    Parameters
    ----------
    brightness, size
        The axes.
    n, found
        ``(brightness bins, size bins)`` int64.
    depths, within
        Numbers of objects that are looked at, and the injections that are found among so many.
    hosts_found
        How many of the hosts would be found without the light, as ordinary objects of the survey.
    """

    brightness: Axis
    size: Axis
    n: np.ndarray
    found: np.ndarray
    depths: tuple[int, ...]
    within: tuple[int, ...]
    hosts_found: int

    @classmethod
    def count(
        cls,
        brightness: Axis,
        size: Axis,
        values: np.ndarray,
        sizes: np.ndarray,
        ranks: np.ndarray,
        host_ranks: np.ndarray,
        top: int,
        depths: Sequence[int],
    ) -> Efficiency:
        """Count injections.

        Parameters
        ----------
        brightness, size
            The axes.
        values, sizes
            ``(n,)`` brightness and size of each injection, in the units of the axes.
        ranks
            ``(n,)`` rank of each among the objects of the survey, 1 for the most anomalous.
        host_ranks
            ``(n,)`` rank of its host there.
        top
            Up to which rank it is found.
        depths
            Other such ranks, for all injections together.
        """
        cell = np.ravel_multi_index(
            (brightness.place(values), size.place(sizes)), (len(brightness.edges) - 1, len(size.edges) - 1)
        )
        shape = (len(brightness.edges) - 1, len(size.edges) - 1)
        n = np.bincount(cell, minlength=shape[0] * shape[1]).reshape(shape)
        found = np.bincount(cell[ranks <= top], minlength=shape[0] * shape[1]).reshape(shape)
        within = tuple(int((ranks <= depth).sum()) for depth in depths)
        return cls(brightness, size, n, found, tuple(depths), within, int((host_ranks <= top).sum()))

    @property
    def hosts(self) -> Row:
        """The hosts, without the light."""
        return Row.of(self.hosts_found, int(self.n.sum()))

    @property
    def total(self) -> Row:
        """All injections together."""
        return Row.of(self.found.sum(), self.n.sum())

    def rows(self, axis: str) -> list[tuple[float, float, Row]]:
        """Return the ends of each bin of ``brightness`` or ``size``, and the fraction found there."""
        along = int(axis == "brightness")  # what is summed over
        edges = (self.brightness if along else self.size).edges
        pairs = zip(self.found.sum(axis=along), self.n.sum(axis=along), strict=True)
        return [(float(edges[k]), float(edges[k + 1]), Row.of(*pair)) for k, pair in enumerate(pairs)]

    def table(self) -> QTable:
        """Return one row per bin of brightness, then of size, then of both, and one for all.

        Returns
        -------
        astropy.table.QTable
            ``by`` (``brightness``, ``size``, ``both`` or ``all``), the ends of the bin, ``n``, ``found``,
            ``fraction``, ``low`` and ``high``, the ends of its 90 % interval.
        """
        from astropy.table import QTable

        ends = [float(value) for axis in (self.brightness, self.size) for value in (axis.edges[0], axis.edges[-1])]
        lines: list[tuple[Any, ...]] = [
            ("brightness", b0, b1, *ends[2:], row) for b0, b1, row in self.rows("brightness")
        ]
        lines += [("size", *ends[:2], s0, s1, row) for s0, s1, row in self.rows("size")]
        for k, (b0, b1, _) in enumerate(self.rows("brightness")):
            for m, (s0, s1, _) in enumerate(self.rows("size")):
                lines.append(("both", b0, b1, s0, s1, Row.of(self.found[k, m], self.n[k, m])))
        lines.append(("all", *ends, self.total))
        table = QTable()
        table["by"] = [line[0] for line in lines]
        for number, (axis, end) in enumerate(
            ((self.brightness, "low"), (self.brightness, "high"), (self.size, "low"), (self.size, "high")), 1
        ):
            column = f"{axis.name}_{end}"
            table[column] = np.array([line[number] for line in lines])
            table[column].info.unit = axis.unit or None
            table[column].info.description = f"{'lower' if end == 'low' else 'upper'} end of the bin: {axis.text}"
        for name, text in (
            ("n", "injections"), ("found", "those that would be found"), ("fraction", "share that would be found"),
            ("low", f"lower end of its {LEVEL:.0%} interval (Jeffreys)"), ("high", "upper end"),
        ):  # fmt: skip
            table[name] = np.array([getattr(line[-1], name) for line in lines])
            table[name].info.description = text
        return table

    # ---------------------------------------------------------------------------------------------- as plain values

    def to_plain(self) -> dict[str, Any]:
        """Return it as JSON values."""
        axes = {
            name: {
                "name": axis.name, "text": axis.text, "unit": axis.unit, "edges": axis.edges.tolist(),
                "logarithmic": axis.logarithmic,
            }
            for name, axis in (("brightness", self.brightness), ("size", self.size))
        }  # fmt: skip
        return {
            **axes, "n": self.n.tolist(), "found": self.found.tolist(), "depths": list(self.depths),
            "within": list(self.within), "hosts_found": self.hosts_found,
        }  # fmt: skip

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Efficiency:
        """Make it from what `to_plain` gave.

        Raises
        ------
        KeyError, TypeError, ValueError
            If it is something else.
        """
        brightness, size = (
            Axis(
                str(one["name"]), str(one["text"]), str(one["unit"]), np.array(one["edges"], np.float64),
                bool(one["logarithmic"]),
            )
            for one in (plain["brightness"], plain["size"])
        )  # fmt: skip
        n, found = np.array(plain["n"], np.int64), np.array(plain["found"], np.int64)
        shape = (len(brightness.edges) - 1, len(size.edges) - 1)
        if n.shape != shape or found.shape != shape or (found > n).any() or (found < 0).any():
            raise ValueError("the counts do not fit the bins")
        depths, within = ([int(value) for value in plain[name]] for name in ("depths", "within"))
        if len(depths) != len(within):
            raise ValueError("the depths do not fit what is within")
        hosts_found = int(plain["hosts_found"])
        if not 0 <= hosts_found <= n.sum():
            raise ValueError("more hosts are found than there are")
        return cls(brightness, size, n, found, tuple(depths), tuple(within), hosts_found)


def _edges(low: float, high: float, bins: int, logarithmic: bool) -> np.ndarray:
    if bins == 1:
        return np.array([low, high])
    return np.geomspace(low, high, bins + 1) if logarithmic else np.linspace(low, high, bins + 1)
