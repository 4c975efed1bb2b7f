"""What leaves a session: catalogues, cutouts, reports, bundles."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from astroanomaly.arguments import as_flag, as_number, as_text, as_whole
from astroanomaly.cache import Cache
from astroanomaly.files import as_path
from astroanomaly.records import Progress, drain
from astroanomaly.session.caches import cache_folders
from astroanomaly.session.candidates import usual_display
from astroanomaly.session.export import export, selected
from astroanomaly.session.folder import SessionFolder
from astroanomaly.session.known import read_known
from astroanomaly.session.outputs.beside import beside_html
from astroanomaly.session.outputs.bundle import write_bundle
from astroanomaly.session.outputs.completeness import completeness_html
from astroanomaly.session.outputs.cutouts import write_cutouts_of
from astroanomaly.session.outputs.footprint import Footprint, write_footprint
from astroanomaly.session.outputs.methods import MethodText, methods, write_methods
from astroanomaly.session.outputs.report import write_report
from astroanomaly.session.outputs.stored_ranking import write_ranking
from astroanomaly.session.reproduce import TOLERANCE, Reproduction, reproduce_steps
from astroanomaly.session.survey.score_table import export_scores
from astroanomaly.tables.coordinates import angle_arcsec

if TYPE_CHECKING:
    from astropy.table import QTable
    from astropy.units import Quantity

__all__ = ["OutputVerbs"]


class OutputVerbs(SessionFolder):
    """What leaves a session: catalogues, cutouts, reports, bundles."""

    def export(
        self,
        path: str | Path,
        *,
        top: int | None = None,
        threshold: float | None = None,
        labelled: str | None = None,
        merge_radius_arcsec: float = 1.0,
        overwrite: bool = False,
        escape_formulas: bool = False,
        acronym: str = "",
        journal: str = "aas",
    ) -> QTable:
        """Write a catalogue of anomalies: FITS, VOTable, ECSV, CSV or DS9 regions, by the suffix of the path.

        Or a table for a paper: ``.mrt`` (machine-readable table of AAS journals), ``.dat`` (fixed-width table with a
        ``ReadMe`` beside it, for the CDS) or ``.tex`` (LaTeX).

        Objects labelled nominal are left out of the first two selections.

        Parameters
        ----------
        path
            File to write.
        top
            The so many highest scores, duplicates merged before they are counted; 100 when no selection is given.
        threshold
            All objects whose probability is at least this, and those labelled as anomalies. Without a labelled audit
            set it is 1 / (1 + exp(-score)), which is not calibrated.
        labelled
            All objects with this label; ``anomalies``: with any label but ``nominal``.
        merge_radius_arcsec
            Objects closer than this are merged into one row; 0 keeps all.
        overwrite
            Replace the file if it exists.
        escape_formulas
            Put an apostrophe before each text of a CSV that a spreadsheet would run as a formula.
        acronym
            In a table for a paper: what stands before the position in the names of objects, as in
            ``AA J012345.67+123456.7``.
        journal
            Of LaTeX: ``aas`` (``deluxetable``) or ``mnras``.
        """
        place = as_path(path, "the catalogue")
        return export(
            self, place, top, threshold, labelled, merge_radius_arcsec, overwrite, escape_formulas=escape_formulas,
            acronym=as_text(acronym, "acronym"), journal=as_text(journal, "journal"),
        )  # fmt: skip

    def export_scores(
        self,
        path: str | Path,
        *,
        survey: str | Path | None = None,
        overwrite: bool = False,
        escape_formulas: bool = False,
        progress: Callable[[Progress], None] | None = None,
    ) -> int:
        """Write the scores of all objects by the latest round as one table; return how many objects.

        Shard by shard, in memory of one shard: as many objects as there are. Nothing is merged or left out.

        Parameters
        ----------
        path
            ``.fits``, ``.parquet`` (one row group for each shard; extra ``parquet``) or ``.csv``.
        survey
            Folder of a survey that this round has scored (`score_source`): its objects instead of
            those of the session's caches.
        overwrite
            Replace the file if it exists.
        escape_formulas
            Put an apostrophe before each text of a CSV that a spreadsheet would run as a formula.
        progress
            Called with a `Progress` after each shard.

        Raises
        ------
        SessionError
            If no round has scored all objects yet.
        ConfigError
            For another suffix, or if pyarrow is missing.
        StorageError
            If the file exists, or cannot be written; nothing half-written is left.
        """
        steps = export_scores(
            self,
            as_path(path, "the table"),
            survey=None if survey is None else as_path(survey, "the survey"),
            overwrite=overwrite,
            escape_formulas=escape_formulas,
        )
        return drain(steps, progress)

    def write_cutouts(
        self,
        path: str | Path,
        *,
        top: int | None = None,
        threshold: float | None = None,
        labelled: str | None = None,
        ids: Sequence[str] | None = None,
        merge_radius_arcsec: float = 1.0,
        one_file: bool = False,
        overwrite: bool = False,
        progress: Callable[[Progress], None] | None = None,
    ) -> list[str]:
        """Write objects as FITS with their WCS, score and label; return the name of each one's file.

        Parameters
        ----------
        path
            Folder to make, or with ``one_file`` a FITS file; as in `Cache.write_cutouts`.
        top, threshold, labelled, merge_radius_arcsec
            Which objects, as in `export`.
        ids
            These objects instead.
        overwrite
            Replace the file, or a folder that was made so.
        progress
            Called with a `Progress` after each object.
        """
        place = as_path(path, "the folder of cutouts")
        table = selected(self, top, threshold, labelled, ids, merge_radius_arcsec=merge_radius_arcsec)
        return write_cutouts_of(self.cache, table, place, one_file=one_file, overwrite=overwrite, progress=progress)

    def write_report(
        self,
        path: str | Path,
        *,
        title: str = "",
        top: int | None = None,
        threshold: float | None = None,
        labelled: str | None = None,
        ids: Sequence[str] | None = None,
        merge_radius_arcsec: float = 1.0,
        pages: bool = False,
        overwrite: bool = False,
        progress: Callable[[Progress], None] | None = None,
    ) -> QTable:
        """Write a report with pictures of objects as one HTML file, which a browser prints into a PDF.

        It ends with the method in sentences, see `methods`, where something was scored.

        Parameters
        ----------
        path
            The file, called ``.html``.
        title
            Heading; empty: the name of the session.
        top, threshold, labelled, ids, merge_radius_arcsec
            Which objects, as in `write_cutouts`.
        pages
            Add a page for each of the first 100 objects: pictures in colour and in every band, what was said of it,
            crossmatches, and all columns of the catalogue.
        overwrite
            Replace the file if it exists.
        progress
            Called with a `Progress` after each object.
        """
        place, heading = as_path(path, "the report"), as_text(title, "title") or self.path.absolute().name
        table = selected(self, top, threshold, labelled, ids, merge_radius_arcsec=merge_radius_arcsec)
        write_report(
            self.cache, table, place, heading,
            display=usual_display(self), completeness=completeness_html(self),
            method=methods(self).html if self.is_scored else "", pages=as_flag(pages, "pages"),
            known=read_known(self.path) if pages else (), beside=beside_html(self) if pages else None,
            overwrite=overwrite, progress=progress,
        )  # fmt: skip
        return table

    def methods(self) -> MethodText:
        r"""Say in sentences, for a paper, how the latest ranking was made, with citations and versions; to be edited.

        Returns
        -------
        MethodText
            ``text``, ``latex`` (with ``\citep``) and ``bibtex``.

        Raises
        ------
        SessionError
            If nothing was scored to the end.
        """
        return methods(self)

    def write_methods(self, path: str | Path, *, overwrite: bool = False) -> MethodText:
        """Write what `methods` says, and return it.

        Parameters
        ----------
        path
            ``.txt``, with BibTeX at the end; or ``.tex``, with a file ``.bib`` beside it.
        overwrite
            Replace what is there.

        Raises
        ------
        SessionError
            If nothing was scored to the end.
        ConfigError
            For another suffix.
        StorageError
            If a file exists and must not be replaced, or cannot be written.
        """
        found = methods(self)
        write_methods(found, as_path(path, "the method"), overwrite=as_flag(overwrite, "overwrite"))
        return found

    def write_footprint(
        self,
        path: str | Path,
        *,
        size: Quantity | str | None = None,
        order: int | None = None,
        overwrite: bool = False,
    ) -> Footprint:
        """Write which part of the sky was searched: discs around all objects, as a multi-order coverage map (MOC).

        Parameters
        ----------
        path
            File called ``.fits``.
        size
            Diameter of each disc: an angle with its unit, ``10 * u.arcsec`` or ``"10arcsec"``. None: the shorter side
            of the cutouts.
        order
            Of the smallest cells, 0 to 29; None: cells of about a quarter of a disc.
        overwrite
            Replace the file if it exists.

        Returns
        -------
        Footprint
            ``moc``, with its ``area_deg2``, and how many objects are in it.

        Raises
        ------
        ConfigError
            If no object has a position, the cutouts are of no known size, or the order is too fine for them.
        StorageError
            If the file exists and must not be replaced, or cannot be written.
        """
        diameter = None if size is None else angle_arcsec(size, "size")
        return write_footprint(
            self.cache, as_path(path, "the footprint"), diameter_arcsec=diameter,
            order=None if order is None else as_whole(order, "order"), overwrite=as_flag(overwrite, "overwrite"),
        )  # fmt: skip

    def write_bundle(
        self,
        path: str | Path,
        *,
        title: str = "",
        top: int | None = None,
        threshold: float | None = None,
        labelled: str | None = None,
        ids: Sequence[str] | None = None,
        merge_radius_arcsec: float = 1.0,
        ranking: bool = False,
        include_caches: bool = False,
        overwrite: bool = False,
        progress: Callable[[Progress], None] | None = None,
    ) -> QTable:
        """Write objects with table, FITS cutouts, pictures, report and labels, for another machine.

        Parameters
        ----------
        path
            A folder to make, or an archive called ``.zip``.
        title, top, threshold, labelled, ids, merge_radius_arcsec
            As in `write_report`.
        ranking
            Add what the ranking of all objects can be computed again from, see `reproduce`: settings, all labels
            without notes, the checkpoint if there is one, and all scores.
        include_caches
            Add the caches too, so that nothing else is needed for that.
        overwrite
            Replace the archive, or a folder that was made so.
        progress
            Called with a `Progress` after each cutout and each picture.

        Raises
        ------
        SessionError
            If the ranking is asked for, and nothing was scored to the end.
        """
        place, heading = as_path(path, "the bundle"), as_text(title, "title") or self.path.absolute().name
        table = selected(self, top, threshold, labelled, ids, merge_radius_arcsec=merge_radius_arcsec)
        stored = None
        if as_flag(ranking, "ranking") or as_flag(include_caches, "include_caches"):
            self.last_round  # noqa: B018 - says that nothing was scored before anything is written
            stored = functools.partial(write_ranking, self, include_caches=include_caches, progress=progress)
        write_bundle(
            self.cache, table, self.labels.current(), place, heading,
            display=usual_display(self), ranking=stored, overwrite=overwrite, progress=progress,
        )  # fmt: skip
        return table

    @staticmethod
    def reproduce(
        bundle: str | Path,
        caches: str | Path | Cache | Sequence[str | Path | Cache] | None = None,
        *,
        weights: str | Path = "",
        tolerance: float = TOLERANCE,
        progress: Callable[[Progress], None] | None = None,
    ) -> Reproduction:
        """Compute the ranking of a bundle again, and compare it with the scores that the bundle holds.

        Nothing of the bundle is used before it has been compared with its checksums. A ranker with a checkpoint scores
        with it; others learn anew from the settings and labels of the bundle.

        Parameters
        ----------
        bundle
            A folder or a zip archive, written by `write_bundle` with ``ranking``.
        caches
            The caches that were ranked; not needed where the bundle includes them. They are compared with what the
            bundle knows of them.
        weights
            Where the network began with weights that are not part of this package: the file, which must be the same;
            or ``pretrained``, which lets timm download what the settings name.
        tolerance
            How much log-odds may differ.
        progress
            Called with a `Progress` now and then.

        Returns
        -------
        Reproduction
            The greatest difference, the rank correlation, versions then and now, whether it is within the tolerance,
            and if not, what may be the reason.

        Raises
        ------
        UnreadableError, CacheError
            If it is no bundle, was changed, or holds no ranking; or if the caches are others.
        ConfigError
            If weights are missing, or others.
        """
        steps = reproduce_steps(
            as_path(bundle, "the bundle"), [] if caches is None else cache_folders(caches),
            weights=str(weights), tolerance=as_number(tolerance, "tolerance", 0),
        )  # fmt: skip
        return drain(steps, progress)
