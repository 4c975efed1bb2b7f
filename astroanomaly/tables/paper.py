"""Tables of a catalogue for a paper: machine-readable ones of AAS journals and the CDS, and LaTeX."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from astroanomaly.config import nearest
from astroanomaly.errors import ConfigError, StorageError
from astroanomaly.files import atomic_path
from astroanomaly.tables.designation import check_acronym, designations
from astroanomaly.tables.fixed_width import README, write_cds, write_mrt
from astroanomaly.tables.latex import JOURNALS, as_latex
from astroanomaly.tables.write import check_target

if TYPE_CHECKING:
    from astropy.table import QTable

__all__ = ["PAPER_SUFFIXES", "check_paper_table", "write_paper_table"]

PAPER_SUFFIXES = (".mrt", ".dat", ".tex")


def check_paper_table(path: Path, acronym: str, journal: str, *, overwrite: bool) -> None:
    """Check that a table for a paper can be written, before the work begins.

    Raises
    ------
    ConfigError
        If the suffix is none of `PAPER_SUFFIXES`, the acronym cannot be one, or there is no such journal.
    StorageError
        If the file, or the ReadMe beside it, exists and must not be replaced, or the folder does not exist.
    """
    suffix = check_target(path, PAPER_SUFFIXES, overwrite=overwrite)
    check_acronym(acronym)
    if journal not in JOURNALS:
        raise ConfigError(f"journal={journal!r}: expected one of {', '.join(JOURNALS)}{nearest(journal, JOURNALS)}")
    readme = path.with_name(README)
    if suffix == ".dat" and readme.exists() and not overwrite:
        raise StorageError(f"{readme} exists already: write the table into another folder, or --overwrite both")


def write_paper_table(
    table: QTable, path: Path, *, acronym: str = "", journal: str = JOURNALS[0], overwrite: bool = False
) -> QTable:
    """Write a catalogue for a paper, in the format its suffix names; return it with the column ``designation``.

    Parameters
    ----------
    table
        What `astroanomaly.tables.write.build_catalog` made.
    path
        ``.mrt``: a machine-readable table of the AAS journals. ``.dat``: a fixed-width table, with the ``ReadMe`` of
        the CDS beside it. ``.tex``: a short table in LaTeX.
    acronym
        What stands before the position in names, see `astroanomaly.tables.designation.designations`.
    journal
        Of LaTeX, see `astroanomaly.tables.latex.as_latex`.
    overwrite
        Replace what is there.

    Raises
    ------
    ConfigError, StorageError
        As `check_paper_table`, or if it cannot be written.
    """
    check_paper_table(path, acronym, journal, overwrite=overwrite)
    named = table.copy()
    names = designations(table["ra"].to_value("deg"), table["dec"].to_value("deg"), acronym)
    name = "designation"
    if name in named.colnames:
        named.rename_column(name, f"catalog_{name}")
    named.add_column(np.array(names, dtype=str), name=name, index=0)
    named[name].info.description = "name by the truncated ICRS position"
    named[name].info.meta = {"ucd": "meta.id"}
    suffix = path.suffix.lower()
    if suffix == ".tex":
        with atomic_path(path) as temporary:
            temporary.write_text(as_latex(named, journal), encoding="ascii")
    else:
        (write_mrt if suffix == ".mrt" else write_cds)(named, path)
    return named
