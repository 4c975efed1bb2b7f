"""What is known and what is missed: cross-matches, audit, forecast, planted anomalies."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astroanomaly.arguments import as_flag, as_list, as_number, as_whole
from astroanomaly.config import FetchConfig
from astroanomaly.files import as_path
from astroanomaly.records import Progress, drain
from astroanomaly.session.audit import AuditDraw, draw_audit
from astroanomaly.session.calibration import DEPTHS, Forecast
from astroanomaly.session.crossmatch import CrossmatchReport, crossmatch_steps, named_catalogs, within_errors
from astroanomaly.session.export import selected
from astroanomaly.session.folder import SessionFolder
from astroanomaly.session.injection.inject import InjectionReport, injection_steps
from astroanomaly.session.injection.request import InjectionRequest
from astroanomaly.session.remaining import remaining
from astroanomaly.session.summary import summary
from astroanomaly.tables.coordinates import angle_arcsec

if TYPE_CHECKING:
    from astropy.table import QTable
    from astropy.units import Quantity

__all__ = ["CompletenessVerbs"]


class CompletenessVerbs(SessionFolder):
    """What is known and what is missed: cross-matches, audit, forecast, planted anomalies."""

    def crossmatch(
        self,
        catalogs: Any,
        *,
        radius: Quantity | str = "2arcsec",
        sigma: float | None = None,
        position_error: Quantity | str | None = None,
        top: int | None = None,
        threshold: float | None = None,
        labelled: str | None = None,
        ids: Sequence[str] | None = None,
        merge_radius_arcsec: float = 1.0,
        fetch: FetchConfig | Mapping[str, Any] | None = None,
        progress: Callable[[Progress], None] | None = None,
    ) -> QTable:
        """Look objects up in catalogues and online services, and keep what they are known as.

        What is found joins the tables of `candidates`, `export`, reports and bundles, and is shown in the app. A second
        call replaces what the same catalogue has said of the same objects, and nothing else.

        Parameters
        ----------
        catalogs
            Name of a service (``simbad``, ``ned``, ``gaia``, ``skybot``, see ``astroanomaly sources``); path of a table
            of any format that `read_catalog` reads; a table or `~astropy.coordinates.SkyCoord`; a list of these; or a
            dictionary of names and these.
        radius
            How far an entry may be from an object: an angle with its unit, at most 10 arcmin.
        sigma
            An entry of a table may also be no further than this many times the error of its position, which is found
            by UCD or name. None: errors do not count.
        position_error
            Error of the positions of the session's objects, an angle, added in quadrature. None: 0.
        top, threshold, labelled, merge_radius_arcsec
            Which objects, as in `export`.
        ids
            These objects instead.
        fetch
            How services are asked, see `astroanomaly.FetchConfig`.
        progress
            Called with a `Progress` now and then.

        Returns
        -------
        astropy.table.QTable
            ``object_id``, ``ra``, ``dec``; ``known``, ``known_type``, ``known_in``, ``known_separation`` (arcsec),
            ``known_reference`` and ``known_matches``; ``known_position_error`` with ``sigma``; numbers of services, as
            ``simbad_redshift``; ``not_asked`` where a service did not answer for an object. What others have answered
            is kept: call again.

        Raises
        ------
        CatalogError, UnreadableError
            If a table cannot be read, or has no positions.
        ConfigError
            If there is no such service, or the radius cannot be.
        """
        steps = self.crossmatch_steps(
            catalogs, radius=radius, sigma=sigma, position_error=position_error, top=top, threshold=threshold,
            labelled=labelled, ids=ids, merge_radius_arcsec=merge_radius_arcsec, fetch=fetch,
        )  # fmt: skip
        return drain(steps, progress).table

    def crossmatch_steps(
        self,
        catalogs: Any,
        *,
        radius: Quantity | str = "2arcsec",
        sigma: float | None = None,
        position_error: Quantity | str | None = None,
        top: int | None = None,
        threshold: float | None = None,
        labelled: str | None = None,
        ids: Sequence[str] | None = None,
        merge_radius_arcsec: float = 1.0,
        fetch: FetchConfig | Mapping[str, Any] | None = None,
    ) -> Generator[Progress, None, CrossmatchReport]:
        """As `crossmatch`, as a generator of progress reports; it returns failures too."""
        named = named_catalogs(catalogs)
        arcsec = angle_arcsec(radius, "radius")
        within = within_errors(sigma, position_error)
        objects = selected(self, top, threshold, labelled, ids, merge_radius_arcsec=merge_radius_arcsec)
        return (yield from crossmatch_steps(self, named, objects, arcsec, fetch, within))

    def summary(self, *, merge_radius_arcsec: float = 1.0) -> QTable:
        """Count the objects labelled as anomalies, by class, by whether they are known, and by reference.

        Parameters
        ----------
        merge_radius_arcsec
            Objects closer than this count as one; 0 counts all.

        Returns
        -------
        astropy.table.QTable
            ``label``, ``known`` (``known``, ``not known``, or ``not looked up`` where one of the catalogues was not
            asked), ``known_in``, ``reference`` and ``n``.
        """
        return summary(self, as_number(merge_radius_arcsec, "merge_radius_arcsec", 0))

    def add_audit(self, n: int, *, replace: bool = False) -> AuditDraw:
        """Draw an audit set at random from the objects that nobody has labelled, or draw more of the one there is.

        It is then a sample of what had no label: `remaining`, probabilities and curves are about these objects, and
        what was labelled before is known and added. Skipped objects have no label, and may be drawn.

        Parameters
        ----------
        n
            How many objects; they are never trained on from then on, and never shown as candidates.
        replace
            Give the audit set up that there is, whose labels are then ordinary ones, and begin a new one.

        Returns
        -------
        AuditDraw
            How many were drawn from how many; as text, what that means.

        Raises
        ------
        ConfigError
            If fewer objects have no label, or not a single one would be left.
        SessionError
            If there is an audit set, and objects beside it that it is a sample of have been labelled since: two such
            samples cannot be put together exactly.
        """
        return draw_audit(
            self.labels, self.cache, as_whole(n, "n", 1), self.context.seed, replace=as_flag(replace, "replace")
        )

    def remaining(self, depths: Sequence[int] | None = None) -> Forecast:
        """Say how many anomalies are left among the unlabelled objects, and how many the next ones hold.

        Parameters
        ----------
        depths
            Numbers of unlabelled objects, the highest scores of the latest round first; None: 10, 20, 50, 100 ...

        Returns
        -------
        Forecast
            ``total`` and ``within``, with their 90 % and 95 % intervals, and ``probability(scores)``.

        Raises
        ------
        SessionError
            If nothing was trained yet, or fewer than 20 objects of the audit set are labelled: without it nothing is
            known of what nobody has looked at.
        """
        chosen = DEPTHS if depths is None else as_list(depths, "depths", "whole numbers")
        return remaining(self, [as_whole(depth, "depths", 1) for depth in chosen])

    def inject(
        self,
        kind: str | Path,
        out: str | Path,
        *,
        psf: Any = None,
        psf_stars: Any = None,
        n: int = 500,
        magnitude: Sequence[float] | None = None,
        flux: Sequence[float] | None = None,
        relative: Sequence[float] | None = None,
        size: Any = None,
        band: str | None = None,
        colours: Mapping[str, float] | None = None,
        gain: float | Mapping[str, float] | None = None,
        zero_points: float | Mapping[str, float] | None = None,
        hosts: Sequence[str] | None = None,
        top: int | None = None,
        seed: int = 0,
        overwrite: bool = False,
        progress: Callable[[Progress], None] | None = None,
    ) -> InjectionReport:
        """Add simulated light to real cutouts, rank them as the latest round ranks, and count what would be found.

        Of the session itself nothing changes but the file of the result, which `write_report` shows: injections are
        never labelled, learnt from, or part of the audit set.

        Parameters
        ----------
        kind
            ``lens``, ``ring`` or ``tidal``; or the path of a stamp as FITS, with one image, or one by the name of each
            band.
        out
            Folder to make: a cache of the injections, their table, and the efficiency as a table and as a picture.
        psf
            Full width at half maximum of the PSF, in pixels or as an angle, or a dictionary by band; or the path of an
            image of it as FITS. 0 convolves with nothing. Either this or ``psf_stars`` is needed.
        psf_stars
            Table of stars with positions, as a path or an astropy table: the PSF of each band is measured on those that
            lie in the cutouts, see the documentation of the command.
        n
            How many injections.
        magnitude, flux, relative
            One range of brightness, the lower end first: AB magnitudes in ``band``; flux in ``band``, in the unit of
            the pixels; or flux relative to the host's in each band. None of them: 0.03 to 1 of the host's.
        size
            Range of sizes, in pixels or as angles: Einstein radius of a lens, radius of a ring, radius that tidal light
            reaches, half-light radius of a stamp. None: from the width of the PSF to a fifth of the cutout; a stamp as
            it is.
        band
            Band of magnitude and flux; None: the middle one.
        colours
            Flux in each band, up to a factor; None: as the host, or as the stamp.
        gain
            Electrons a unit of flux, one for all bands or by band: then the light has photon noise.
        zero_points
            AB magnitude of one unit of flux, where the cache does not know it.
        hosts
            Ids of the objects to draw hosts from; None: all. Those with a label, or in the audit set, are left out.
        top
            An injection is found if it is among the first so many objects. None: as many as have labels, at least 100.
        seed
            Seed of everything random.
        overwrite
            Replace a folder that was made so.
        progress
            Called with a `Progress` now and then.

        Returns
        -------
        InjectionReport
            ``table`` (the fraction found by brightness and size, with 90 % intervals), ``injections`` (one row each),
            ``cache``.

        Raises
        ------
        ConfigError, BandError, UnreadableError
            If anything given does not fit.
        CacheError
            If the cutouts have no flux: 8-bit pictures.
        SessionError
            If nothing was trained yet, or no object can be injected into.
        """
        request = InjectionRequest.of(
            self.cache, kind, psf=psf, psf_stars=psf_stars, n=n, magnitude=magnitude, flux=flux, relative=relative,
            size=size, band=band, colours=colours, gain=gain, zero_points=zero_points, hosts=hosts,
            top=top, seed=seed,
        )  # fmt: skip
        steps = injection_steps(self, request, as_path(out, "the folder"), overwrite=as_flag(overwrite, "overwrite"))
        return drain(steps, progress)
