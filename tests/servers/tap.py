"""A small TAP service: tables with UCDs, synchronous queries run by SQLite, and a limit of rows like real ones."""

import sqlite3

import numpy as np
from astropy.table import Table

from .base import NOT_FOUND, Answer, Server
from .crossmatch import _error, _votable
from .mer import query

_KINDS = {"i": "long", "u": "long", "f": "double", "U": "char", "S": "char", "O": "char"}


class TapServer(Server):
    """Serves tables by their names, as in ``{"survey.objects": table}``; UCDs are those of the columns.

    ``most_rows`` are given at most; ``silent`` services do not say so.
    """

    def __init__(self, tables):
        super().__init__()
        self.tables, self.most_rows, self.silent = tables, 100_000, False

    @property
    def address(self):
        """As users give it."""
        return f"{self.url}/tap"

    def answer(self, asked):
        if asked.path != "/tap/sync":
            return NOT_FOUND
        listed = [
            (name, column, table[column].meta.get("ucd", ""))
            for name, table in self.tables.items()
            for column in table.colnames
        ]
        columns = Table(rows=listed, names=("table_name", "column_name", "ucd"))
        try:
            found = query({**self.tables, "TAP_SCHEMA.columns": columns}, asked.get("QUERY"))
        except sqlite3.Error as problem:
            return Answer(_error(str(problem)), "application/x-votable+xml", 400)
        most = min(self.most_rows, int(asked.get("MAXREC", "1000000")))
        rows = [[value.item() if isinstance(value, np.generic) else value for value in row] for row in found]
        kinds = [(name, _KINDS[found[name].dtype.kind]) for name in found.colnames]
        state = "OVERFLOW" if len(rows) > most and not self.silent else "OK"
        return Answer(_votable(kinds, rows[:most], state), "application/x-votable+xml")
