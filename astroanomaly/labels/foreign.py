"""Labels as other programs write them, brought to one row per label: Zooniverse, and folders that are classes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astroanomaly.errors import LabelError
from astroanomaly.files import parse_json
from astroanomaly.tables.column_names import LABELLED_ID_NAMES
from astroanomaly.tables.read import column_texts

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["SCORES", "folder_labels", "one_row_per_label"]

# Astronomaly's human_label: -1 is not labelled, 0 to 5 say how interesting an object is
SCORES = {"-1": "", "0": "nominal", "1": "nominal", "2": "nominal", "3": "anomaly", "4": "anomaly", "5": "anomaly"}
_ZOONIVERSE = ("annotations", "subject_data")
_NAME_KEYS = (*LABELLED_ID_NAMES, "image_name", "image1", "filename1", "title")  # in the data of a subject
_MOST_FILES = 10_000_000
_REMEDY = "give the table of classifications as Zooniverse exports it; no label was written"


def one_row_per_label(table: Table, where: str) -> Table:
    """Return a table of labels with the usual columns; one that has these is left as it is.

    The classifications of Zooniverse (``annotations`` and ``subject_data`` as JSON) become ``object_id``, ``label``,
    ``annotator`` and ``time``; the label is the answer to the first task that has one in words.

    Raises
    ------
    LabelError
        If a row does not hold what Zooniverse writes.
    """
    if not set(_ZOONIVERSE) <= set(table.colnames):
        return table
    from astropy.table import Table

    names, labels = [], []
    texts = [column_texts(table[name]) for name in _ZOONIVERSE]
    for number, (answers, subject) in enumerate(zip(*texts, strict=True), 1):
        row = f"{where}, row {number}"
        labels.append(_answer(parse_json(answers, f"{row}: annotations", kind=list, error=LabelError, remedy=_REMEDY)))
        data = parse_json(subject, f"{row}: subject_data", kind=dict, error=LabelError, remedy=_REMEDY)
        names.append(_subject_name(data, row))
    found = {"object_id": names, "label": labels}
    if "user_name" in table.colnames:
        found["annotator"] = column_texts(table["user_name"])
    if "created_at" in table.colnames:
        found["time"] = [text.replace(" UTC", "+00:00") for text in column_texts(table["created_at"])]
    return Table({name: np.array(values, dtype=str) for name, values in found.items()})


def folder_labels(folder: Path) -> Table:
    """Return one row for each file in the folders of a folder, each of which is a class: ``filename`` and ``label``.

    Raises
    ------
    LabelError
        If no folder in it holds a file.
    """
    from astropy.table import Table

    files: list[str] = []
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        inside = Path(root).relative_to(folder).as_posix()
        if inside != ".":
            files += [f"{inside}/{name}" for name in sorted(names) if not name.startswith(".")]
        if len(files) > _MOST_FILES:
            raise LabelError(f"{folder} holds more than {_MOST_FILES} files: write their labels into a table")
    if not files:
        raise LabelError(
            f"{folder} holds no folder with files: expected one folder for each class, as in "
            f"{folder}/anomaly/img_0.png, or the path of a table"
        )
    return Table({"filename": files, "label": [name.rpartition("/")[0].rpartition("/")[2] for name in files]})


def _answer(answers: Sequence[Any]) -> str:
    for one in answers:
        value = one.get("value") if isinstance(one, Mapping) else None
        if isinstance(value, str):
            return value.strip()
        if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str):
            return value[0].strip()
    return ""


def _subject_name(subject: Mapping[str, Any], where: str) -> str:
    """Return what the data of a subject call the file, by the usual names."""
    data = next((one for one in subject.values() if isinstance(one, Mapping)), {})
    known = {str(key).strip("#!/ ").lower().replace(" ", "_"): value for key, value in data.items()}
    found = next((known[name] for name in _NAME_KEYS if isinstance(known.get(name), str | int)), None)
    if found is None:
        raise LabelError(
            f"{where}: subject_data has none of {', '.join(_NAME_KEYS)}; it has "
            f"{', '.join(map(str, data)) or 'nothing'}. No label was written"
        )
    return str(found)
