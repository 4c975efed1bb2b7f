"""The commands of a campaign: campaign assign, status, grades, agreement, showings, and those for Zooniverse."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from astroanomaly.cli.common import (
    add_command,
    choice_flags,
    chosen,
    count,
    escape_flag,
    many,
    read_ids,
    say_unfinished,
)
from astroanomaly.cli.label_flags import add_grades_flag, given_grades, meanings
from astroanomaly.cli.progress import shown
from astroanomaly.cli.terminal import say, show_table
from astroanomaly.errors import SessionError
from astroanomaly.labels.agreement import WEIGHTS
from astroanomaly.tables.csv_rows import check_escape
from astroanomaly.tables.write import SUFFIXES, check_target, write_catalog

__all__ = ["add"]

_SHOWN = 20  # disagreements on the screen
_TABLES = [suffix for suffix in SUFFIXES if suffix != ".reg"]  # of what is not about positions


def add(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Add the verbs, and what each does."""
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    _add_assign(add_command(verbs, "assign", "divide objects among several people"))
    _add_status(add_command(verbs, "status", "say how far each person is"))
    _add_grades(add_command(verbs, "grades", "say which label classes are ordered grades, or declare them"))
    _add_agreement(add_command(verbs, "agreement", "say how far people agree, and where they do not"))
    _add_showings(add_command(verbs, "showings", "write what the app has shown to whom, in which order"))
    _add_export(
        add_command(verbs, "export-zooniverse", "write pictures and a manifest, as a subject set of Zooniverse")
    )
    _add_import(add_command(verbs, "import-zooniverse", "take the classifications of Zooniverse volunteers"))


def _add_assign(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(run=_assign)
    parser.add_argument("session", type=Path, metavar="SESSION", help="folder of the session")
    parser.add_argument(
        "--annotator", action="append", required=True, dest="annotators", metavar="NAME",
        help="a person, as named in the app; repeat the option for each",
    )  # fmt: skip
    parser.add_argument(
        "--shared", type=int, default=0, metavar="N",
        help="objects that everybody judges, drawn at random from those to divide (default: 0)",
    )  # fmt: skip
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "--top", type=count, metavar="N", help="divide the N highest scores of the latest round that have no label"
    )
    which.add_argument("--random", type=count, metavar="N", help="divide N objects without a label, drawn at random")
    which.add_argument(
        "--ids", type=Path, metavar="FILE", help="divide these objects: a text file with one id in each line"
    )
    parser.add_argument(
        "--replace", action="store_true", help="give up the lists of an earlier campaign; verdicts stay"
    )


def _assign(arguments: argparse.Namespace) -> None:
    from astroanomaly.session.session import Session

    session = Session.open(arguments.session)
    ids = None if arguments.ids is None else read_ids(arguments.ids)
    campaign = session.assign(
        arguments.annotators, shared=arguments.shared, top=arguments.top, random=arguments.random, ids=ids,
        replace=arguments.replace,
    )  # fmt: skip
    say(str(campaign))
    for name, own in campaign.lists.items():
        say(f"  {name}: {many(len(own), 'object')}")
    say(f"next: astroanomaly serve {arguments.session}; each person enters their name, and gets their list")


def _add_status(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(run=_status)
    parser.add_argument("session", type=Path, metavar="SESSION", help="folder of the session")


def _status(arguments: argparse.Namespace) -> None:
    from astroanomaly.session.session import Session

    session = Session.open(arguments.session)
    campaign = session.campaign
    if campaign is None:
        raise SessionError(f"{arguments.session} has no campaign: `astroanomaly campaign assign` begins one")
    say(f"{campaign}, since {campaign.created[:10]}")
    rows = [
        (one.annotator, f"{one.objects:,}", f"{one.judged:,}", f"{one.skipped:,}", f"{one.left:,}",
         f"{one.shared_left:,}")
        for one in session.campaign_progress()
    ]  # fmt: skip
    show_table("", ["annotator", "objects", "judged", "skipped", "left", "shared left"], rows)


def _add_grades(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(run=_grades)
    parser.add_argument("session", type=Path, metavar="SESSION", help="folder of the session")
    add_grades_flag(parser)


def _grades(arguments: argparse.Namespace) -> None:
    from astroanomaly.session.session import Session

    session = Session.open(arguments.session)
    given = given_grades(arguments.grades)
    if given is not None:
        session.declare_grades(given)
    grades = session.grades
    if grades is None:
        raise SessionError(
            f"{arguments.session} has no grades: `astroanomaly init --grades` makes a session with grades; classes of "
            f"this one ({', '.join(session.classes[2:]) or 'it has none of its own'}) become grades with --grades"
        )
    consensus = session.labels.current().values()
    rows = [
        (name, meaning, str(grades.points_of(label)), str(sum(one.label == label for one in consensus)))
        for name, meaning, label in zip(grades.names, grades.meanings, grades.labels, strict=True)
    ]
    show_table("", ["grade", "meaning", "points", "objects"], rows)


def _add_agreement(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(run=_agreement)
    parser.add_argument("session", type=Path, metavar="SESSION", help="folder of the session")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="write the open disagreements as a table: .vot .fits .ecsv .csv .reg"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace that file if it exists")
    escape_flag(parser)
    parser.add_argument(
        "--weights", choices=tuple(WEIGHTS), default="quadratic",
        help="how a disagreement on grades counts by the number of grades between (default: quadratic)",
    )  # fmt: skip


def _agreement(arguments: argparse.Namespace) -> None:
    from astroanomaly.session.session import Session

    if arguments.out is not None:
        check_target(arguments.out, SUFFIXES, overwrite=arguments.overwrite)
        check_escape(arguments.out, arguments.escape_formulas)
    session = Session.open(arguments.session)
    found = session.agreement(arguments.weights)
    campaign = session.campaign
    which = "shared object" if campaign is not None and campaign.shared else "object"
    say(
        f"{many(found.objects, which)} with verdicts of several people: {found.alike} judged alike, "
        f"{found.objects - found.alike} not, {found.decided} of which are decided"
    )
    if len(found.people) > 2:
        say(f"kappa of all {len(found.people)} (Fleiss), on {many(found.by_all, 'object')}: {found.kappa}")
    if len(found.classes) > 2:  # two classes are one question
        classes = [(one.label, f"{one.verdicts:,}", str(one.kappa)) for one in found.classes]
        show_table("agreement on each class", ["class", "verdicts", "kappa (90 % interval)"], classes)
    pairs = [
        (f"{one.first}, {one.second}", f"{one.objects:,}", f"{one.alike / one.objects:.0%}", str(one.kappa))
        for one in found.pairs
    ]
    if pairs:
        show_table("agreement of pairs", ["pair", "objects", "same verdict", "kappa (90 % interval)"], pairs)
    graded = [(f"{one.first}, {one.second}", f"{one.graded:,}", str(one.weighted)) for one in found.pairs if one.graded]
    if graded:
        title = f"agreement on grades, weighted ({arguments.weights})"
        show_table(title, ["pair", "objects", "weighted kappa (90 % interval)"], graded)
        if np.isfinite(found.mean_weighted) and len(graded) > 1:
            say(f"mean of the pairs: {found.mean_weighted:.2f}")
    table = session.disagreements()
    divided = [(str(row["object_id"]), str(row["verdicts"])) for row in table[:_SHOWN]]
    if divided:
        title = "open disagreements" + (f", the first {_SHOWN} of {len(table)}" if len(table) > _SHOWN else "")
        show_table(title, ["object_id", "verdicts"], divided)
    if arguments.out is not None:
        write_catalog(
            table, arguments.out, overwrite=arguments.overwrite, escape_formulas=arguments.escape_formulas,
            contents="disagreements",
        )  # fmt: skip
        say(f"{many(len(table), 'open disagreement')} written to {arguments.out}")


def _add_showings(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(run=_showings)
    parser.add_argument("session", type=Path, metavar="SESSION", help="folder of the session")
    _add_table_flags(parser, required=True)


def _showings(arguments: argparse.Namespace) -> None:
    from astroanomaly.session.session import Session

    check_target(arguments.out, _TABLES, overwrite=arguments.overwrite)
    check_escape(arguments.out, arguments.escape_formulas)
    table = Session.open(arguments.session).showings()
    write_catalog(
        table, arguments.out, overwrite=arguments.overwrite, escape_formulas=arguments.escape_formulas,
        contents="showings",
    )  # fmt: skip
    people = len(set(map(str, table["annotator"])))
    say(f"{many(len(table), 'object')} shown to {many(people, 'person', 'people')}, in {arguments.out}")
    say("it says who was at the page when, and what everybody said: think before you pass it on")


def _add_export(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(run=_export)
    parser.add_argument("session", type=Path, metavar="SESSION", help="folder of the session")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="folder to make")
    choice_flags(parser)
    parser.add_argument(
        "--size", type=count, default=512, metavar="PIXELS",
        help="longest side of a picture; smaller ones are enlarged by a whole number (default: 512)",
    )  # fmt: skip
    parser.add_argument("--jpeg", action="store_true", help="write JPEG instead of PNG")
    parser.add_argument("--overwrite", action="store_true", help="replace a folder that this command has made")


def _export(arguments: argparse.Namespace) -> None:
    from astroanomaly.session.outputs.subjects import MANIFEST
    from astroanomaly.session.session import Session

    session = Session.open(arguments.session)
    say_unfinished(session)
    with shown() as show:
        number = session.write_subject_set(
            arguments.out, size=arguments.size, jpeg=arguments.jpeg, overwrite=arguments.overwrite,
            **chosen(arguments), progress=show,
        )  # fmt: skip
    say(f"{many(number, 'subject')} in {arguments.out}")
    say(f"next: panoptes subject-set upload-subjects --file-column 1 SUBJECT_SET {arguments.out / MANIFEST}")


def _add_import(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(run=_import)
    parser.add_argument("session", type=Path, metavar="SESSION", help="folder of the session")
    parser.add_argument("file", type=Path, metavar="FILE", help="classification export of a project or workflow, CSV")
    parser.add_argument("--retire", type=count, metavar="N", help="an object is retired after N classifications")
    parser.add_argument(
        "--agree", type=float, metavar="SHARE",
        help="an object is retired when this share gives the same answer, as in 0.8; a label needs this share",
    )  # fmt: skip
    parser.add_argument(
        "--least", type=count, default=5, metavar="N",
        help="the fewest classifications with which --agree retires (default: 5)",
    )  # fmt: skip
    parser.add_argument("--task", default="", metavar="TASK", help="the question, as in T0 (default: the only one)")
    parser.add_argument("--workflow", default="", metavar="N", help="number of the workflow (default: the only one)")
    parser.add_argument(
        "--map", action="append", default=[], metavar="ANSWER=LABEL",
        help="what an answer means, as in Yes=anomaly; ANSWER= says that it is no label; several with commas",
    )  # fmt: skip
    parser.add_argument(
        "--annotator", default="zooniverse", metavar="NAME",
        help="name under which the volunteers have one vote (default: zooniverse)",
    )  # fmt: skip
    parser.add_argument("--skip-unmatched", action="store_true", help="leave out subjects that match no object")
    _add_table_flags(parser, required=False)


def _import(arguments: argparse.Namespace) -> None:
    from astroanomaly.session.campaign.volunteers import votes_table
    from astroanomaly.session.session import Session

    if arguments.out is not None:
        check_target(arguments.out, SUFFIXES, overwrite=arguments.overwrite)
        check_escape(arguments.out, arguments.escape_formulas)
    session = Session.open(arguments.session)
    report = session.import_classifications(
        arguments.file, retire=arguments.retire, agree=arguments.agree, least=arguments.least, task=arguments.task,
        workflow=arguments.workflow, words=meanings(arguments.map), annotator=arguments.annotator,
        skip_unmatched=arguments.skip_unmatched,
    )  # fmt: skip
    say(str(report))
    say(f"{many(report.added, 'label')} added under the name {arguments.annotator}")
    if report.cleared:
        say(f"{many(report.cleared, 'earlier label')} taken back: no agreement, or not retired by this rule")
    if report.skipped:
        say(f"{many(report.skipped, 'subject')} that match no object were left out")
    if arguments.out is not None:
        table = votes_table(session, report.votes)
        write_catalog(
            table, arguments.out, overwrite=arguments.overwrite, escape_formulas=arguments.escape_formulas,
            contents="votes",
        )  # fmt: skip
        say(f"votes on {many(len(table), 'object')} written to {arguments.out}")


def _add_table_flags(parser: argparse.ArgumentParser, *, required: bool) -> None:
    what = "write the table here" if required else "write the votes on each object as a table"
    suffixes = " ".join(_TABLES if required else SUFFIXES)
    parser.add_argument("--out", type=Path, required=required, metavar="FILE", help=f"{what}: {suffixes}")
    parser.add_argument("--overwrite", action="store_true", help="replace that file if it exists")
    escape_flag(parser)
