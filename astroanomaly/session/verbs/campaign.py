"""A campaign: lists, grades, agreement, decisions, volunteers of Zooniverse, and who saw what."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from astroanomaly.arguments import as_flag, as_ids, as_mapping, as_number, as_text, as_texts, as_whole
from astroanomaly.files import as_path
from astroanomaly.labels.agreement import Agreement
from astroanomaly.labels.grades import Grades
from astroanomaly.labels.volunteers import RetirementRule
from astroanomaly.records import Progress
from astroanomaly.session.campaign.lists import (
    Campaign,
    PersonProgress,
    agreement_in,
    assign,
    declare_grades,
    disagreements_table,
    progress_of,
    read_campaign,
)
from astroanomaly.session.campaign.showings import showings_table
from astroanomaly.session.campaign.volunteers import VolunteerReport, import_classifications
from astroanomaly.session.export import selected
from astroanomaly.session.folder import SessionFolder
from astroanomaly.session.outputs.subjects import write_subject_set

if TYPE_CHECKING:
    from astropy.table import QTable

__all__ = ["CampaignVerbs"]


class CampaignVerbs(SessionFolder):
    """A campaign: lists, grades, agreement, decisions, volunteers of Zooniverse, and who saw what."""

    def assign(
        self,
        annotators: Sequence[str],
        *,
        shared: int = 0,
        top: int | None = None,
        random: int | None = None,
        ids: Sequence[str] | None = None,
        replace: bool = False,
    ) -> Campaign:
        """Divide objects among several people; in the app each of them gets a list, and judges it blind.

        Everybody gets the shared objects, drawn at random from those to divide, and an equal part of the others, in an
        order of their own.

        Parameters
        ----------
        annotators
            Names of the people, as they call themselves in the app.
        shared
            How many objects everybody judges: agreement is measured on them.
        top
            Divide the so many highest scores of the latest round that have no label, duplicates left out; or
        random
            so many objects without a label, drawn at random; or
        ids
            these objects, whether they have labels or not.
        replace
            Give up the lists of an earlier campaign. Verdicts stay.

        Returns
        -------
        Campaign
            ``lists``, ids by name in the order in which they are shown, and ``shared``; as text, who judges how many.

        Raises
        ------
        ConfigError
            If a name, a number or the choice of objects cannot be.
        SessionError
            If there is a campaign already; or if nothing was scored and ``top`` is asked for.
        UnknownObjectError
            For an id that is in none of the caches.
        """
        return assign(
            self, as_texts(annotators, "annotators"), shared=as_whole(shared, "shared"),
            top=None if top is None else as_whole(top, "top", 1),
            random=None if random is None else as_whole(random, "random", 1),
            ids=None if ids is None else as_ids(ids, "ids"), replace=as_flag(replace, "replace"),
        )  # fmt: skip

    @property
    def campaign(self) -> Campaign | None:
        """Who judges which objects; None unless `assign` has divided some."""
        return read_campaign(self.path)

    def campaign_progress(self) -> list[PersonProgress]:
        """Say how far each person of the campaign is; empty without one.

        Returns
        -------
        list of PersonProgress
            ``annotator``, ``objects`` on the list, ``judged``, ``skipped``, ``left``, and ``shared_left`` of these.
        """
        campaign = self.campaign
        return [] if campaign is None else progress_of(campaign, self.labels.current(), self.labels.audit)

    def declare_grades(self, grades: Mapping[str, str] | Sequence[str]) -> Grades:
        """Say which label classes are grades, and in which order; verdicts stay as they are.

        `Session.create` has ``grades`` for a new session. Classes cannot be added to a session, so those of one that
        exists must have the names of the grades.

        Parameters
        ----------
        grades
            The most certain first, with the meaning of each, or names only. The last one is another word for
            ``nominal``.

        Raises
        ------
        ConfigError
            If they are no grades, or one but the last is no label class.
        SessionError
            If a round has learnt from labels already, or is being made.
        """
        made = declare_grades(self, grades)
        self.__dict__.pop("labels", None)  # which knows grades
        return made

    def agreement(self, weights: str = "quadratic") -> Agreement:
        """Say how far annotators agree: on the objects that all of a campaign share, else on all that several judged.

        Parameters
        ----------
        weights
            ``quadratic`` or ``linear``: how a disagreement on grades counts by the number of grades between.

        Returns
        -------
        Agreement
            ``kappa`` (Fleiss, of all), ``classes`` (of each class), ``pairs`` (Cohen, with grades also weighted), each
            kappa with its 90 % interval; ``objects``, ``alike``, ``decided``. Decisions are left out of all kappas.
        """
        return agreement_in(self.campaign, self.labels.current(), self.classes, self.grades, weights)

    def disagreements(self) -> QTable:
        """Return the objects on which annotators differ and nobody has decided, the most divided first.

        Returns
        -------
        astropy.table.QTable
            ``object_id``, ``ra``, ``dec``, ``label`` (empty: fill it in, and `import_labels` with ``decision=True``),
            ``consensus``, ``verdicts`` and ``note``. Objects of the audit set are left out.
        """
        return disagreements_table(self)

    def showings(self) -> QTable:
        """Return what the app has shown to whom, in which order: one row for each object shown.

        The account is kept in the session, unless the app was started without it. It holds the names of people, and
        when they were at the page: bundles and reports leave it out.

        Returns
        -------
        astropy.table.QTable
            ``time`` (UTC, when the object was sent to the browser), ``annotator``, ``view`` (``page`` or
            ``inspector``), ``page``, ``cell``, ``object_id``, ``ordering``, ``probability`` (NaN where it is not
            known), ``blind``, ``verdict`` (what this person said before the object was shown again; empty: nothing) and
            ``verdict_time``. In the order of the times.

        Raises
        ------
        SessionError, UnreadableError
            If the account cannot be read.
        """
        return showings_table(self)

    def write_subject_set(
        self,
        path: str | Path,
        *,
        top: int | None = None,
        threshold: float | None = None,
        labelled: str | None = None,
        ids: Sequence[str] | None = None,
        merge_radius_arcsec: float = 1.0,
        size: int = 512,
        jpeg: bool = False,
        overwrite: bool = False,
        progress: Callable[[Progress], None] | None = None,
    ) -> int:
        """Write a subject set for Zooniverse: a folder of pictures and ``manifest.csv``; return how many subjects.

        Pictures are those that the app shows at first, north up. Order and names of the files are drawn at random. The
        manifest has the id and the position in columns that volunteers do not see, and neither scores nor labels.

        Parameters
        ----------
        path
            Folder to make.
        top, threshold, labelled, merge_radius_arcsec
            Which objects, as in `export`.
        ids
            These objects instead.
        size
            Longest side of a picture in pixels, 64 to 2048; smaller ones are enlarged by a whole number.
        jpeg
            Write JPEG instead of PNG.
        overwrite
            Replace a folder that was made so.
        progress
            Called with a `Progress` after each picture.

        Raises
        ------
        ConfigError
            If nothing was chosen, the size is out of range, or a picture is too large to be uploaded (1 MiB).
        StorageError
            If the folder cannot be written.
        """
        table = selected(self, top, threshold, labelled, ids, merge_radius_arcsec=merge_radius_arcsec)
        return write_subject_set(
            self.cache, [str(object_id) for object_id in table["object_id"]], as_path(path, "the folder"),
            size=as_whole(size, "size"), jpeg=as_flag(jpeg, "jpeg"), seed=self.section("session")["seed"],
            overwrite=as_flag(overwrite, "overwrite"), progress=progress,
        )  # fmt: skip

    def import_classifications(
        self,
        path: str | Path,
        *,
        retire: int | None = None,
        agree: float | None = None,
        least: int = 5,
        task: str = "",
        workflow: str = "",
        words: Mapping[str, str] | None = None,
        annotator: str = "zooniverse",
        skip_unmatched: bool = False,
    ) -> VolunteerReport:
        """Take the classifications of Zooniverse volunteers, as votes of one annotator, by a retirement rule.

        Volunteers are counted, and not named: an object that is retired gets one verdict, under the name of the
        annotator, and a note with the number of each answer. So a crowd has one vote beside each expert, and no name of
        a stranger comes into the session. A volunteer counts once for an object, and what comes after retirement does
        not count. The same file, or a later one, can be imported again: what has changed is written.

        Parameters
        ----------
        path
            The classification export of a project or workflow (CSV).
        retire
            An object is retired after so many classifications; or, or also,
        agree
            when this share of them, more than half, gives the same answer. Then this share is needed for a label;
            without it, the label is the most frequent answer, and a tie gives none.
        least
            The fewest classifications with which ``agree`` retires.
        task
            The question, as in ``T0``; empty: there is one only.
        workflow
            Number of the workflow; empty: there is one only.
        words
            What answers mean: the label of each, or an empty text for an answer that is no label. Pictures in an answer
            are left out; case does not matter.
        annotator
            Name of the volunteers together.
        skip_unmatched
            Leave out subjects that match no object.

        Returns
        -------
        VolunteerReport
            ``votes`` of each object, ``added`` and ``cleared`` labels, ``skipped`` subjects; as text, what was counted.

        Raises
        ------
        LabelError
            If the file is no such export, an answer has no meaning, or a subject matches no object. Nothing is written.
        ConfigError
            If the rule cannot be.
        """
        rule = RetirementRule(
            None if retire is None else as_whole(retire, "retire"),
            None if agree is None else as_number(agree, "agree"), as_whole(least, "least"),
        )  # fmt: skip
        return import_classifications(
            self, as_path(path, "the classifications"), rule, task=as_text(task, "task"),
            workflow=as_text(workflow, "workflow"), words=None if words is None else as_mapping(words, "words"),
            annotator=as_text(annotator, "annotator"), skip_unmatched=as_flag(skip_unmatched, "skip_unmatched"),
        )  # fmt: skip
