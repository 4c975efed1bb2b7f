"""Labelling: verdicts, and tables of labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astroanomaly.arguments import as_flag, as_mapping, as_number, as_text
from astroanomaly.files import as_path
from astroanomaly.labels.consensus import DECISION
from astroanomaly.labels.naming import given_labels, named_objects
from astroanomaly.labels.tables import ImportReport, import_labels, refuse_contradictions
from astroanomaly.session.folder import SessionFolder, user_name
from astroanomaly.session.label_table import labels_table, write_labels

if TYPE_CHECKING:
    from astropy.table import QTable, Table
    from astropy.units import Quantity

__all__ = ["LabelVerbs"]


class LabelVerbs(SessionFolder):
    """Labelling: verdicts, and tables of labels."""

    def label(
        self,
        ids: Any,
        value: str | Iterable[str],
        *,
        radius: Quantity | str = "1arcsec",
        annotator: str | None = None,
        note: str | None = None,
        decision: bool = False,
    ) -> ImportReport:
        """Say of one or more objects what they are: ``nominal``, ``anomaly`` or a class of the session's own.

        Parameters
        ----------
        ids
            The objects: an id, or a list, array or column of ids; `astropy.coordinates.SkyCoord` in any frame, one
            position or a list, each of which is the nearest object within ``radius``; a `Cutout`; or a table or a row
            of one, by its column ``object_id`` or its positions, as a table of labels.
        value
            One label class for all, or one for each.
        radius
            How far an object may be from a position: an angle with its unit, ``1 * u.arcsec`` or ``"1arcsec"``.
        annotator
            Who says so; None: your user name.
        note
            A note to each object.
        decision
            Whether this closes the case: it counts whatever others have said or will say.

        Returns
        -------
        ImportReport
            How many labels were written, and where several objects were within the radius.

        Raises
        ------
        UnknownObjectError
            For an id that is in none of the caches; then no label is written.
        LabelError
            For an unknown label class, for a position without an object, or for something that names no object.
        ConfigError
            If the radius is no angle.
        """
        chosen, messages = named_objects(ids, lambda: self.objects.ids, lambda: self.objects.positions, radius)
        values = given_labels(value, len(chosen))
        who = _annotator(annotator)
        note = as_text(note, "note") if note is not None else ""
        refuse_contradictions(chosen, values, [who] * len(chosen), "one call")
        self.objects.rows(chosen)
        with self.labels.transaction():
            ordering = DECISION if as_flag(decision, "decision") else ""
            self.labels.verdict(chosen, values, annotator=who, round=len(self.rounds), ordering=ordering)
            if note:
                self.labels.note(chosen, note, annotator=who, round=len(self.rounds))
        return ImportReport(len(chosen), tuple(messages))

    def labels_table(self) -> QTable:
        """Return one row per labelled object.

        Returns
        -------
        astropy.table.QTable
            As `export_labels` writes it: ``object_id``, ``label`` (decision, majority or median grade), ``votes``,
            ``annotators``, ``decided_by`` (empty without a decision), ``time`` (of the last verdict, ISO 8601 in UTC,
            as `astropy.time.Time` reads it), ``ra`` and ``dec`` (ICRS, NaN where unknown), ``audit`` (whether it is of
            the audit set) and ``note``. With grades also ``grade`` (of the decision, else the median) and
            ``mean_grade`` (of all annotators, in points: 0 for the last grade, one more for each better one).
        """
        return labels_table(self)

    def import_labels(
        self,
        path: str | Path | Table,
        *,
        match_radius_arcsec: float = 1.0,
        annotator: str | None = None,
        label: str | None = None,
        ra: str | None = None,
        dec: str | None = None,
        frame: str | None = None,
        unit: str | None = None,
        words: Mapping[str, str] | None = None,
        skip_unmatched: bool = False,
        decision: bool = False,
    ) -> ImportReport:
        """Take labels from a table, matched by object id, by base name, or by position on the sky.

        Nothing is written if any row is wrong.

        Parameters
        ----------
        path
            Path of a table of any format that `read_catalog` reads, or of a folder with a folder of files for each
            class; or an `astropy.table.Table` or `~astropy.table.QTable`.
        match_radius_arcsec
            How far a labelled position may be from its object.
        annotator
            Who says so, where the table does not; None: your user name.
        label, ra, dec
            Names of the columns of labels and positions; by default usual names are looked for, and ids go before
            positions.
        frame, unit
            Frame and unit of the positions, as in `read_catalog`.
        words
            What words of the table mean: the label of each, or an empty text for no label.
        skip_unmatched
            Leave out rows that match no object; the report counts them.
        decision
            Whether each label closes the case of its object: it counts whatever others have said or will say.
        """
        return import_labels(
            self.labels,
            path,
            self.objects.ids,
            self.objects.positions,
            radius_arcsec=as_number(match_radius_arcsec, "match_radius_arcsec", 0),
            annotator=_annotator(annotator),
            round=len(self.rounds),
            label=label,
            ra=ra,
            dec=dec,
            frame=frame,
            unit=unit,
            words=None if words is None else as_mapping(words, "words"),
            skip_unmatched=skip_unmatched,
            decision=as_flag(decision, "decision"),
        )

    def export_labels(self, path: str | Path, *, overwrite: bool = False, escape_formulas: bool = False) -> int:
        """Write one row per labelled object; return how many.

        Parameters
        ----------
        path
            ``.vot``, ``.votable`` or ``.xml`` (VOTable), ``.fits``, ``.ecsv`` or ``.reg`` (DS9 regions): what
            `labels_table` gives, in that format. Any other name: CSV, with a header line.
        overwrite
            Replace the file if it exists.
        escape_formulas
            Write a CSV in which no text is a formula to a spreadsheet.

        Raises
        ------
        ConfigError
            If formulas are to be escaped in what is no CSV.
        StorageError
            If the file exists and must not be replaced, or cannot be written.
        """
        return write_labels(self, as_path(path, "the file"), overwrite=overwrite, escape_formulas=escape_formulas)


def _annotator(name: str | None) -> str:
    return user_name() if name is None else as_text(name, "annotator") or user_name()
