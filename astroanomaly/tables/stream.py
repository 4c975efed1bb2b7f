"""Tables that grow block by block on disk: FITS with checksums, Parquet and CSV."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astroanomaly.errors import CatalogError, ConfigError
from astroanomaly.tables.csv_rows import csv_rows
from astroanomaly.tables.escape import ascii_text, unicode_text
from astroanomaly.tables.write import as_ecsv, as_fits, as_votable

if TYPE_CHECKING:
    from astropy.table import QTable

__all__ = ["STREAMS"]

Put = Callable[[Mapping[str, Any]], None]  # takes columns by name, arrays of numbers and lists of texts
_BLOCK_BYTES = 2880  # bytes; a FITS file is made of such blocks
_LINE_BREAKS = re.compile(rb"(?<=[^>\s])\s*\n\s*(?=[^<\s])")  # astropy breaks long descriptions into lines
_NOT_IN_CHECKSUMS = frozenset(b":;<=>?@[\\]^_`")


@contextlib.contextmanager
def _fits(path: Path, template: QTable, total: int) -> Iterator[Put]:
    """Write a FITS table: the header first, the rows as they come, then the checksums into the header."""
    from astropy.io import fits

    hdu = as_fits(template, "SCORES")
    row = hdu.columns.dtype.newbyteorder(">")
    header = hdu.header.copy()
    header["NAXIS2"] = total
    header["CHECKSUM"] = "0" * 16, "HDU checksum"
    header["DATASUM"] = "0".rjust(10), "data unit checksum"  # as long as any sum: the header keeps its size
    primary = fits.PrimaryHDU()
    primary.add_checksum()
    written = sum_of_words = 0

    with path.open("wb") as handle:

        def put(columns: Mapping[str, Any]) -> None:
            nonlocal written, sum_of_words
            rows = np.zeros(len(columns["object_id"]), row)
            for field, (name, values) in zip(row.names, columns.items(), strict=True):
                texts = [ascii_text(text) for text in values] if row[field].kind == "S" else values
                if row[field].kind == "S" and max(map(len, texts)) > row[field].itemsize:
                    longest = max(texts, key=len)
                    raise CatalogError(
                        f"{name} {longest!r} has {len(longest)} characters, {row[field].itemsize} were expected"
                    )
                rows[field] = texts
            data = rows.tobytes()
            handle.write(data)
            sum_of_words = _add_words(sum_of_words, data, written)
            written += len(data)

        handle.write(primary.header.tostring().encode("ascii"))
        start = handle.tell()
        handle.write(header.tostring().encode("ascii"))
        yield put
        handle.write(b"\0" * (-written % _BLOCK_BYTES))
        header["DATASUM"] = str(sum_of_words).rjust(10)
        text = header.tostring().encode("ascii")
        header["CHECKSUM"] = _spelt_checksum(_add_words(sum_of_words, text, 0))
        handle.seek(start)
        handle.write(header.tostring().encode("ascii"))


def _add_words(total: int, data: bytes, offset: int) -> int:
    """Add bytes that begin at some offset to a ones' complement sum of 32-bit words (FITS standard 4.0, 4.4.2.7)."""
    words = b"\0" * (offset % 4) + data
    total += int(np.frombuffer(words + b"\0" * (-len(words) % 4), ">u4").sum(dtype=np.uint64))
    while total >> 32:
        total = (total & 0xFFFFFFFF) + (total >> 32)
    return total


def _spelt_checksum(total: int) -> str:
    """Spell the complement of a sum as 16 letters and digits, so that the whole sums to -0 (FITS standard 4.0, J)."""
    letters = np.zeros((4, 4), np.int64)  # letters of each byte of the word, by the byte they belong to
    for place, byte in enumerate((~total & 0xFFFFFFFF).to_bytes(4, "big")):
        four = np.full(4, byte // 4 + ord("0"))
        four[0] += byte % 4
        while any(int(letter) in _NOT_IN_CHECKSUMS for letter in four):
            for first in (0, 2):  # a pair keeps its sum
                if any(int(letter) in _NOT_IN_CHECKSUMS for letter in four[first : first + 2]):
                    four[first] += 1
                    four[first + 1] -= 1
        letters[:, place] = four
    text = bytes(letters.ravel().tolist()).decode("ascii")
    return text[-1] + text[:-1]  # the value of the card begins one byte before a word


@contextlib.contextmanager
def _parquet(path: Path, template: QTable, total: int) -> Iterator[Put]:
    """Write Parquet, described as astropy (YAML) and the IVOA (VOParquet 1.0, a VOTable without data) do."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ConfigError(
            f"{path.suffix} files need pyarrow, which cannot be imported ({error}): pip install 'astroanomaly[parquet]'"
        ) from error
    from astropy.table.meta import get_yaml_from_table

    plain = as_ecsv(template)
    described = as_votable(template[:0], "scores")
    for field, column in zip(described.get_first_table().fields, plain.itercols(), strict=True):
        if column.dtype.kind == "U":
            field.arraysize = f"{column.dtype.itemsize // 4}*"
    xml = io.BytesIO()
    described.to_xml(xml)
    about = {
        "table_meta_yaml": "\n".join(get_yaml_from_table(plain)),
        "IVOA.VOTable-Parquet.version": "1.0",
        "IVOA.VOTable-Parquet.content": _LINE_BREAKS.sub(b" ", xml.getvalue()),
    }
    fields = []
    for column in plain.itercols():
        if column.dtype.kind == "U":
            about[f"table::len::{column.name}"] = str(column.dtype.itemsize // 4)
        more = {"unit": column.unit, "ucd": (column.meta or {}).get("ucd"), "description": column.description}
        of_numpy = pyarrow.string() if column.dtype.kind == "U" else pyarrow.from_numpy_dtype(column.dtype)
        fields.append(pyarrow.field(column.name, of_numpy, metadata={k: str(v) for k, v in more.items() if v}))
    schema = pyarrow.schema(fields, metadata=about)

    with parquet.ParquetWriter(path, schema) as writer:

        def put(columns: Mapping[str, Any]) -> None:
            arrays = [
                pyarrow.array([unicode_text(text) for text in values] if field.type == "string" else values, field.type)
                for field, values in zip(schema, columns.values(), strict=True)
            ]
            rows = pyarrow.Table.from_arrays(arrays, schema=schema)
            writer.write_table(rows, row_group_size=len(rows))

        yield put


@contextlib.contextmanager
def _csv(path: Path, template: QTable, total: int, escape_formulas: bool = False) -> Iterator[Put]:
    """Write CSV with a line of names; see `csv_rows`."""
    with path.open("w", newline="", encoding="utf-8") as handle:
        rows = csv_rows(handle, template.colnames, escape_formulas=escape_formulas)

        def put(columns: Mapping[str, Any]) -> None:
            plain = [values.tolist() if isinstance(values, np.ndarray) else values for values in columns.values()]
            rows(zip(*plain, strict=True))

        yield put


# A stream takes a path, a catalogue of one row that describes the columns, and the number of rows to come; that of CSV
# also whether formulas are escaped.
STREAMS: dict[str, Callable[..., contextlib.AbstractContextManager[Put]]] = {
    ".fits": _fits,
    ".parquet": _parquet,
    ".csv": _csv,
}
