"""The real objects that light is added to: drawn from a session, and measured."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from astroanomaly.errors import DamagedError, SessionError
from astroanomaly.imaging.sampling import read_undamaged
from astroanomaly.records import Cutout
from astroanomaly.session.folder import SessionFolder

__all__ = ["Host", "draw_hosts", "measure"]

_READ_TOGETHER = 64  # cutouts
_APERTURE, _SKY_FROM = 0.3, 0.45  # radii in units of the shorter side of a cutout
_CENTRE_PX = 3.0  # radius in which the centre is measured
_MAD_TO_SIGMA = 1.4826
_MIN_SNR = 3.0  # of the flux of a host, where it decides on brightness or colours


@dataclass(frozen=True, eq=False)
class Host:
    """A real object.

    Parameters
    ----------
    cutout
        Its pixels.
    columns
        Its catalogue columns, each of one value, with units.
    flux
        ``(bands,)`` its flux within 0.3 of the shorter side of the cutout, less the median of what lies beyond 0.45.
    flux_error
        ``(bands,)`` the scatter of the latter over as many pixels.
    centre
        x and y of its light near the middle of the cutout.
    """

    cutout: Cutout
    columns: dict[str, Any]
    flux: np.ndarray
    flux_error: np.ndarray
    centre: tuple[float, float]

    @property
    def is_measured(self) -> bool:
        """Whether its flux in every band is well above the noise."""
        return bool((self.flux > _MIN_SNR * self.flux_error).all() and (self.flux > 0).all())


def draw_hosts(
    session: SessionFolder, n: int, rng: np.random.Generator, chosen: Sequence[str] | None, *, measured: bool
) -> Iterator[Host]:
    """Draw real objects; each once, and again from the first where there are fewer than are wanted.

    Objects that people have labelled are left out, since rankers may know them, and those of the audit set.

    Parameters
    ----------
    session
        The session.
    n
        How many.
    rng
        Draws them.
    chosen
        Draw from these alone; None: from all objects.
    measured
        Leave out those whose flux is not measured in every band.

    Raises
    ------
    SessionError
        If there is none.
    """
    barred = [i for i, one in session.labels.current().items() if one.label] + sorted(session.labels.audit)
    if chosen is None:
        ids = session.cache.sample(4 * n + _READ_TOGETHER, rng, exclude=barred)
    else:
        free = sorted(set(chosen) - set(barred))
        ids = [free[k] for k in rng.permutation(len(free))]
    found: list[str] = []
    for host in _read(session, ids):
        if len(found) == n:
            return
        if np.isfinite(host.flux).all() and (host.is_measured or not measured):
            found.append(host.cutout.object_id)
            yield host
    if not found:
        raise SessionError(
            f"of {len(ids)} objects without a label, and outside of the audit set, none can be injected into: "
            + ("their flux is not measured in every band" if measured else "they have no data in the middle")
            + "; give others as hosts"
            + (", or a range of magnitude or flux with colours" if measured else "")
        )
    again = itertools.islice(itertools.cycle(found), n - len(found))
    yield from _read(session, list(again))


def _read(session: SessionFolder, ids: Sequence[str]) -> Iterator[Host]:
    """Read objects in the order given, without damaged ones."""
    for start in range(0, len(ids), _READ_TOGETHER):
        some = ids[start : start + _READ_TOGETHER]
        try:
            _, places = read_undamaged(session.cache, some)
        except DamagedError:  # none of these
            continue
        sound = [some[place] for place in places.tolist()]
        columns = session.cache.columns(sound)
        for k, cutout in enumerate(session.cache.cutouts(sound)):
            yield measure(cutout, {name: column[k : k + 1] for name, column in columns.items()})


def measure(cutout: Cutout, columns: dict[str, Any]) -> Host:
    """Measure flux, its error and the centre of an object; NaN in a band without data in the middle."""
    height, width = cutout.data.shape[-2:]
    side = min(height, width)
    y, x = np.arange(height)[:, None], np.arange(width)[None, :]
    middle = ((width - 1) / 2, (height - 1) / 2)
    radius = np.hypot(x - middle[0], y - middle[1])
    flux, error = np.full(len(cutout.data), np.nan), np.full(len(cutout.data), np.nan)
    inside = radius < max(_APERTURE * side, 1.0)
    sky = np.zeros(len(cutout.data))
    for band, plane in enumerate(cutout.data):
        outside = plane[(radius > _SKY_FROM * side) & np.isfinite(plane)]
        here = plane[inside & np.isfinite(plane)].astype(np.float64)
        if not len(outside) or not len(here):
            continue
        sky[band] = np.median(outside)
        scatter = _MAD_TO_SIGMA * np.median(np.abs(outside - sky[band]))
        flux[band] = here.sum() - sky[band] * len(here)
        error[band] = scatter * np.sqrt(len(here))
    near = radius < _CENTRE_PX
    light = np.where(near, np.clip(np.nan_to_num(cutout.data - sky[:, None, None]).sum(axis=0), 0, None), 0)
    total = light.sum()
    centre = middle if total <= 0 else (float((light * x).sum() / total), float((light * y).sum() / total))
    return Host(cutout, columns, flux, error, centre)
