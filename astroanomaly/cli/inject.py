"""The command that measures completeness by injections: inject."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astroanomaly.cli.common import count, many, read_ids, say_unfinished
from astroanomaly.cli.progress import shown
from astroanomaly.cli.terminal import say, show_table
from astroanomaly.errors import ConfigError
from astroanomaly.learn.engine.device import tune_allocator

if TYPE_CHECKING:
    from astroanomaly.session.injection.efficiency import Row

__all__ = ["add"]

_OPTIONS = (
    "psf", "psf_stars", "n", "magnitude", "flux", "relative", "size", "band", "colours", "gain", "zero_points",
    "top", "seed",
)  # fmt: skip
_BY_BAND = ("psf", "colours", "gain", "zero_points")


def add(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Add the flags, and what the command does."""
    parser.set_defaults(run=_inject)
    parser.add_argument("session", type=Path, metavar="SESSION", help="folder of the session")
    parser.add_argument(
        "--kind", required=True, metavar="KIND", help="lens, ring or tidal; or the path of a stamp as FITS"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="folder to make")
    seen = parser.add_mutually_exclusive_group(required=True)
    seen.add_argument(
        "--psf", nargs="+", metavar="WIDTH",
        help="full width at half maximum of the PSF, in pixels or as an angle (0.8arcsec), or by band "
        "(g=2.8 r=2.5 i=2.4); or an image of it as FITS; 0 convolves with nothing",
    )  # fmt: skip
    seen.add_argument(
        "--psf-stars", type=Path, metavar="TABLE",
        help="measure the PSF on the stars of this table that lie in the cutouts",
    )  # fmt: skip
    parser.add_argument("-n", type=count, metavar="N", help="how many injections (default: 500)")
    which = parser.add_mutually_exclusive_group()
    ends: dict[str, Any] = {"nargs": 2, "type": float, "metavar": ("LOW", "HIGH")}
    which.add_argument("--magnitude", **ends, help="range of AB magnitudes of what is added, in --band")
    which.add_argument("--flux", **ends, help="range of its flux in --band, in the unit of the pixels")
    which.add_argument(
        "--relative", **ends, help="range of its flux relative to the host's, in each band (default: 0.03 1)"
    )
    parser.add_argument(
        "--size", nargs=2, metavar=("LOW", "HIGH"),
        help="range of sizes, in pixels or as angles: Einstein radius of a lens, radius of a ring, radius that tidal "
        "light reaches, half-light radius of a stamp (default: from the width of the PSF to a fifth of the cutout; a "
        "stamp as it is)",
    )  # fmt: skip
    parser.add_argument("--band", metavar="BAND", help="band of magnitude and flux (default: the middle one)")
    parser.add_argument(
        "--colours", nargs="+", metavar="BAND=FLUX",
        help="flux in each band, up to a factor, as in g=0.9 r=1 i=1.1 (default: as the host, or as the stamp)",
    )  # fmt: skip
    parser.add_argument(
        "--gain", nargs="+", metavar="GAIN",
        help="electrons a unit of flux, for all bands or by band: the photon noise of the light is added then",
    )  # fmt: skip
    parser.add_argument(
        "--zero-points", nargs="+", metavar="BAND=MAG",
        help="AB magnitude of one unit of flux, by band, where the cache does not know it",
    )  # fmt: skip
    parser.add_argument(
        "--hosts", type=Path, metavar="FILE",
        help="add light to these objects alone: a text file with one id in each line (default: drawn at random)",
    )  # fmt: skip
    parser.add_argument(
        "--top", type=count, metavar="K",
        help="an injection is found if it is among the first K objects (default: as many as have labels, at least 100)",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, metavar="N", help="seed of everything random (default: 0)")
    parser.add_argument("--overwrite", action="store_true", help="replace a folder that this command has made")


def _inject(arguments: argparse.Namespace) -> None:
    from astroanomaly.session.session import Session

    given: dict[str, Any] = {
        name: value for name in _OPTIONS if (value := getattr(arguments, name)) is not None
    }  # fmt: skip
    for name in _BY_BAND:
        if name in given:
            given[name] = _values(given[name], f"--{name.replace('_', '-')}", numeric=name != "psf")
    if arguments.hosts is not None:
        given["hosts"] = read_ids(arguments.hosts)
    tune_allocator()
    session = Session.open(arguments.session)
    say_unfinished(session)
    with shown() as show:
        report = session.inject(
            arguments.kind, arguments.out, overwrite=arguments.overwrite, progress=show, **given
        )  # fmt: skip
    found = report.completeness
    efficiency, total = found.efficiency, found.efficiency.total
    say(f"{found.about['injected']}; hosts {found.about['hosts']}")
    for name in ("brightness", "colours", "size", "psf", "noise"):
        say(f"{name}: {found.about[name]}")
    say(
        f"found: among the first {found.top} of {many(found.objects, 'object')}, ranked by {found.ranker} of round "
        f"{found.round} (K is {found.about['looked_at']})"
    )
    for axis, name in ((efficiency.brightness, "brightness"), (efficiency.size, "size")):
        rows = [(f"{low:.4g} to {high:.4g}", *_cells(row)) for low, high, row in efficiency.rows(name)]
        show_table(f"by {name}", [axis.label, "injected", "found", "share", "90 %"], [*rows, ("all", *_cells(total))])
    say(f"without the light, {_cells(efficiency.hosts)[2]} of the hosts would be found ({_cells(efficiency.hosts)[3]})")
    depths = [
        f"{depth}: {within / total.n:.0%}" for depth, within in zip(efficiency.depths, efficiency.within, strict=True)
    ]
    if depths:
        say(f"share among the first ... objects: {', '.join(depths)}")
    say(f"see {arguments.out}; `astroanomaly report {arguments.session}` shows this beside the audit set")


def _cells(row: Row) -> tuple[str, str, str, str]:
    if not row.n:
        return "0", "", "", ""
    return str(row.n), str(row.found), f"{row.fraction:.0%}", f"{row.low:.0%} to {row.high:.0%}"


def _values(words: Sequence[str], flag: str, *, numeric: bool) -> Any:
    """Read one value for all bands, or ``BAND=VALUE`` words."""

    def value(text: str) -> Any:
        if not numeric:
            return text
        try:
            return float(text)
        except ValueError:
            raise ConfigError(f"{flag} {text}: expected a number") from None

    pairs = [word.rpartition("=") for word in words]
    if len(words) == 1 and not pairs[0][1]:
        return value(words[0])
    if not all(equals and band for band, equals, _ in pairs):
        raise ConfigError(f"{flag} {' '.join(words)}: expected one value, or one by band, as in g=2.8 r=2.5")
    return {band: value(text) for band, _, text in pairs}
