"""Tables that are traps: they point elsewhere, grow in memory, run for ever, or are no tables; made by code."""

import base64
import gzip
import io
import warnings

import numpy as np
from astropy import units as u
from astropy.coordinates import AltAz, EarthLocation, SkyCoord
from astropy.io import fits
from astropy.table import QTable, Table
from astropy.time import Time
from erfa import ErfaWarning

FIELDS = '<FIELD name="object_id" datatype="char" arraysize="*"/><FIELD name="label" datatype="char" arraysize="*"/>'
ROWS = "<TABLEDATA><TR><TD>a</TD><TD>anomaly</TD></TR></TABLEDATA>"


def votable(data=ROWS, before="", fields=FIELDS, attributes="", declared="utf-8"):
    declaration = f'<?xml version="1.0" encoding="{declared}"?>' if declared else ""
    return (
        f"{declaration}{before}<VOTABLE version='1.4'><RESOURCE><TABLE {attributes}>{fields}"
        f"<DATA>{data}</DATA></TABLE></RESOURCE></VOTABLE>"
    )


def pointing(base):
    """Documents that name an address or a file below ``base`` in every way and encoding, by name."""
    stream = f'<BINARY><STREAM href="{base}/binary"/></BINARY>'
    ways = {
        "binary": votable(stream),
        "binary2": votable(f'<BINARY2><STREAM encoding="base64" href="{base}/binary2"/></BINARY2>'),
        "fits": votable(f'<FITS extnum="1"><STREAM href="{base}/fits"/></FITS>'),
        "parquet": votable(f'<PARQUET type="VOTable-remote-file"><STREAM href="{base}/parquet"/></PARQUET>'),
        "gzip": votable(f'<BINARY><STREAM encoding="gzip" href="{base}/gzip"/></BINARY>'),
        "prefix": votable(f'<v:BINARY><v:STREAM v:href="{base}/prefix"/></v:BINARY>'),
        "line-ends": votable(f"<BINARY><STREAM\n\thref\n=\n'{base}/lines'\n/></BINARY>"),
        "far": votable(f'<BINARY><STREAM actuate="{"x" * 200_000}" href="{base}/far"/></BINARY>'),
        "character-references": votable(
            f'<BINARY><STREAM href="{"".join(f"&#{ord(c)};" for c in base + "/references")}"/></BINARY>'
        ),
        "default-of-the-dtd": votable(
            "<BINARY><STREAM/></BINARY>", f'<!DOCTYPE VOTABLE [<!ATTLIST STREAM href CDATA "{base}/attlist">]>'
        ),
        "external-entity": votable(
            ROWS.replace("anomaly", "&e;"), f'<!DOCTYPE VOTABLE [<!ENTITY e SYSTEM "{base}/entity">]>'
        ),
        "parameter-entity": votable(
            before=f'<!DOCTYPE VOTABLE [<!ENTITY % e SYSTEM "{base}/parameter"> %e;]>'
        ),
        "entity-for-the-address": votable(
            '<BINARY><STREAM href="&e;"/></BINARY>', f'<!DOCTYPE VOTABLE [<!ENTITY e "{base}/entity">]>'
        ),
        "second-declaration": f'<?xml version="1.0"?>{votable(stream, declared="cp037")}',
    }  # fmt: skip
    found = {f"{name}.vot": text.encode() for name, text in ways.items()}
    wide = votable(stream, declared="utf-16")
    for codec, mark in (("utf-16-be", b"\xfe\xff"), ("utf-16-le", b"\xff\xfe"), ("utf-32-le", b"\xff\xfe\0\0"),
                        ("utf-32-be", b"\0\0\xfe\xff")):  # fmt: skip
        found[f"{codec}.vot"] = mark + wide.encode(codec)
        found[f"{codec}-without-mark.vot"] = wide.encode(codec)
    # its first bytes say VOTABLE to who does not decode them
    comment = f"<!--{b'<VOTABLE'.decode('utf-16-be')}-->"
    found["utf-16-disguised.vot"] = b"\xfe\xff" + votable(stream, comment, declared="utf-16").encode("utf-16-be")
    for codec in ("cp037", "cp500", "utf-7", "iso-2022-jp", "shift_jis", "no-such-code"):
        text = votable(stream, declared="")
        body = text.encode(codec) if codec != "no-such-code" else text.encode()
        found[f"declared-{codec}.vot"] = f'<?xml version="1.0" encoding="{codec}"?>'.encode() + body
    found["utf-8-mark.vot"] = b"\xef\xbb\xbf" + votable(stream).encode()
    found["latin.vot"] = votable(stream, "<!--\xe9-->", declared="iso-8859-1").encode("latin-1")
    found |= {f"{name}.gz": gzip.compress(content) for name, content in list(found.items())[:2]}
    found["html.html"] = f'<html><img src="{base}/html"/><table><tr><td>object_id</td></tr></table></html>'.encode()
    found["xinclude.vot"] = votable(
        before="", fields=f'<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="{base}/xinclude"/>' + FIELDS
    ).encode()
    found["stylesheet.vot"] = votable(before=f'<?xml-stylesheet href="{base}/style"?>').encode()
    found["schema.vot"] = (
        votable()
        .replace(
            "<VOTABLE",
            f"<VOTABLE xmlns:x='http://www.w3.org/2001/XMLSchema-instance' x:schemaLocation='{base} {base}/x'",
        )
        .encode()
    )
    found["horizon.ecsv"] = horizon()
    found["address.csv"] = f"{base}/csv\n".encode()
    found["addresses.csv"] = f"object_id,label\n{base}/csv,anomaly\n".encode()
    return found


def horizon():
    """Positions above a horizon, years from now: astropy would fetch how the Earth will have turned."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ErfaWarning)  # nobody knows the leap seconds of that year
        where = AltAz(obstime=Time("2031-01-01"), location=EarthLocation.from_geodetic(0, 0))
    table = QTable({"object_id": ["a"], "label": ["anomaly"]})
    table["where"] = SkyCoord([10.0] * u.deg, [30.0] * u.deg, frame=where)
    out = io.StringIO()
    table.write(out, format="ascii.ecsv")
    return out.getvalue().encode()


def bombs():
    """Files that take far more memory or time than they have bytes, by name."""
    grows = "".join(f'<!ENTITY {a} "{f"&{b};" * 10}">' for a, b in zip("bcdefghijk", "abcdefghij", strict=True))
    laughs = f'<!DOCTYPE x [<!ENTITY a "lol">{grows}]>'
    long = f'<!DOCTYPE x [<!ENTITY a "{"a" * 100_000}">]>'
    field = '<FIELD name="label" datatype="char" arraysize="{}"/>'
    empty = "<TABLEDATA>" + "<TR/>" * 20_000 + "</TABLEDATA>"
    found = {
        "laughs.vot": votable(ROWS.replace("anomaly", "&k;"), laughs).encode(),
        "quadratic.vot": votable(ROWS.replace("anomaly", "&a;" * 50_000), long).encode(),
        "nested.vot": votable("<TABLEDATA>" + "<TR>" * 200_000 + "</TABLEDATA>").encode(),
        "resources.vot": b"<?xml version='1.0'?><VOTABLE>" + b"<RESOURCE>" * 100_000,
        "groups.vot": votable(fields="<GROUP>" * 100_000 + "</GROUP>" * 100_000).encode(),
        "rows-claimed.vot": votable(attributes='nrows="99999999999"').encode(),
        "cell-claimed.vot": votable(fields=FIELDS + field.format(9_999_999_999)).encode(),
        "cube-claimed.vot": votable(fields=FIELDS + field.format("100000x100000x*")).encode(),
        "rows-of-nothing.vot": votable(empty, fields=FIELDS + field.format(10**8)).encode(),
        "fields.vot": votable(fields="".join(f'<FIELD name="f{k}" datatype="int"/>' for k in range(100_000))).encode(),
        "cell.vot": votable(ROWS.replace("anomaly", "x" * 2**25)).encode(),
        "zeros.csv.gz": gzip.compress(bytes(2**20)) * 300,
        "cell.csv": b"object_id,label\na," + b"x" * 2**25 + b"\n",
        "quote.csv": b'object_id,label\na,"' + b"x,y\n" * 2**18,
        "columns.csv": b",".join(b"c%d" % k for k in range(100_000)) + b"\n",
        "nul.csv": b"object_id,label\na\0b,anomaly\n",
        "late-nul.csv": b"object_id,label\n" + b"a,anomaly\n" * 50_000 + b"\0\n",
        "numbers.csv": b"object_id,label,x\na,anomaly," + b"9" * 100_000 + b"\n",
        "wide.ecsv": ecsv("x" * 100_000, *["y"] * 100_000),
        "pointers.ecsv": ecsv("a", meta="!numpy.void {buffer: QUFBQUFBQUE=, dtype: O}"),
        "renamed-pointers.ecsv": ecsv("a", meta="!<!numpy%2Evoid> {buffer: QUFBQUFBQUE=, dtype: O}"),
        "pointer-fields.ecsv": ecsv("a", meta="!numpy.ndarray {buffer: QUFBQUFBQUE=, dtype: [[a, O]], shape: [1]}"),
        "pointer-alias.ecsv": ecsv("a", meta="{x: &o '|O', y: !numpy.void {buffer: QUFBQUFBQUE=, dtype: *o}}"),
        "strides.ecsv": ecsv("a", meta="!numpy.ndarray {buffer: QUFBQUFBQUE=, dtype: f8, shape: [9], strides: [0]}"),
        "python.ecsv": ecsv("a", meta="!!python/object/apply:os.system [touch hacked]"),
        "nested.ecsv": ecsv("a", meta="[" * 10_000 + "]" * 10_000),
        "merged.ecsv": ecsv("a", meta=yaml_laughs()),
        "long.ecsv": ecsv("a", meta="'" + "x" * 2**21 + "'"),
        "prose.txt": prose(),
        "prose.csv": prose(),
        "page.csv": b"<!DOCTYPE html><html><body><p>" + b"Not found. " * 20_000 + b"</p></body></html>",
        "notes.json": b"[\n" + b'  {"a": 1, "b": [1, 2, {"c": "d e f"}]},\n' * 5_000 + b"]\n",
        "daophot.txt": b"#K MERGERAD = INDEF\n" * 20 + b"{'a': [1, 2],\n" * 5_000,
        "fixed.txt": b"+----+\n" * 20_000,
        "bars.txt": b"| a | b |\n" + b"|\n" * 100_000,
        "one-line.txt": b"word " * 2**22,
    }  # fmt: skip
    return found | fits_traps()


def ecsv(*labels, meta="{}"):
    head = f"# %ECSV 1.0\n# ---\n# datatype:\n# - {{name: label, datatype: string}}\n# meta: {meta}\n"
    return (head + "label\n" + "\n".join(labels) + "\n").encode()


def yaml_laughs():
    lines = "{a0: &a0 {x: 1, y: 2}"
    for k in range(30):
        lines += f", a{k + 1}: &a{k + 1} {{<<: [*a{k}, *a{k}, *a{k}, *a{k}]}}"
    return lines + "}"


def prose():
    text = "it was the best of times, it was the worst of times; it was the age of wisdom \u2014 it was"
    words = text.split()
    lines = (" ".join(words[k % 19] for k in range(n % 41, n % 41 + 3 + n * n % 13)) for n in range(5000))
    return "\n".join(lines).encode()


def fits_traps():
    """FITS tables whose headers say what cannot be."""
    whole = Table({"object_id": ["a", "b"], "label": ["anomaly", "nominal"], "x": [1.0, 2.0]})
    primary = fits.PrimaryHDU()

    def with_cards(comments=(), **cards):
        hdu = fits.table_to_hdu(whole)
        text = primary.header.tostring() + hdu.header.tostring()
        for key, value in cards.items():
            old = next(card for card in hdu.header.cards if card.keyword == key).image
            text = text.replace(old, fits.Card(key, value).image.ljust(80))
        if comments:
            header = fits.Header.fromstring(text[len(primary.header.tostring()) :])
            for line in comments:
                header.add_comment(line)
            text = primary.header.tostring() + header.tostring()
        data = np.asarray(hdu.data).tobytes()
        return text.encode() + data + bytes(-len(data) % 2880)

    marks = "--BEGIN-ASTROPY-SERIALIZED-COLUMNS--", "--END-ASTROPY-SERIALIZED-COLUMNS--"
    pointers = ["datatype:", "- {name: label, datatype: string}"]
    pointers += ["meta: {x: !numpy.void {buffer: QUFBQUFBQUE=, dtype: O}}"]
    heap = fits.BinTableHDU.from_columns([fits.Column("x", "PD()", array=np.array([np.zeros(3)] * 3, object))])
    cards = primary.header.tostring().encode() + heap.header.tostring().encode().replace(b"1PD(3)", b"1PD(3)")
    claims = np.array([(2**31 - 1, 0)] * 3, ">i4,>i4").tobytes()
    image = fits.PrimaryHDU(np.zeros((3, 3), "f4")).header
    image["NAXIS1"] = 10**12
    return {
        "tfields.fits": with_cards(TFIELDS=10**9),
        "negative.fits": with_cards(NAXIS2=-2),
        "text.fits": with_cards(NAXIS2="many"),
        "rows.fits": with_cards(NAXIS2=10**12),
        "row.fits": with_cards(NAXIS1=10**12),
        "tform.fits": with_cards(TFORM3="1000000000D"),
        "tform-huge.fits": with_cards(TFORM3="9" * 30 + "D"),
        "tform-none.fits": with_cards(TFORM3="what?"),
        "pcount.fits": with_cards(PCOUNT=10**15),
        "pointers.fits": with_cards([marks[0], *pointers, marks[1]]),
        "heap.fits": cards + claims + bytes(2880 - len(claims)) + bytes(2880),
        "no-end.fits": primary.header.tostring().encode().replace(b"END", b"   ") + b" " * 15_000_000,
        "image.fits": image.tostring().encode(),
        "many.fits": primary.header.tostring().encode()
        + fits.ImageHDU().header.tostring().encode() * 11_000,
        "bomb.fits.gz": gzip.compress(with_cards()) + gzip.compress(bytes(2**20)) * 300,
        "base64.fits": base64.b64encode(with_cards()),
    }  # fmt: skip
