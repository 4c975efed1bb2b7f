"""Inputs that once came to a fault, or would if a door were left open: name of the kind, name of the seed, edits."""

from __future__ import annotations

from edits import Edit

__all__ = ["CORPUS"]

_VOTABLE = (
    '<?xml version="1.0"?>\n{}<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE><TABLE>'
    '<FIELD name="id" datatype="char" arraysize="*"/><FIELD name="ra" datatype="double"/>'
    '<FIELD name="dec" datatype="double"/><DATA>{}</DATA></TABLE></RESOURCE></VOTABLE>'
)
_ROW = "<TABLEDATA><TR><TD>a</TD><TD>1</TD><TD>2</TD></TR></TABLEDATA>"
_ENTITIES = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 12))


def _votable(*, head: str = "", data: str = _ROW) -> list[Edit]:
    return [("whole", _VOTABLE.format(head, data))]


CORPUS: tuple[tuple[str, str, list[Edit]], ...] = (
    *(("FITS images", "stamp real", [("card", "NAXIS1", 0, text)]) for text in ("-1", "2147483647", "99999999999")),
    ("FITS images", "stamp real", [("card", "NAXIS", 0, "999")]),
    ("FITS images", "mosaic rice", [("card", "ZNAXIS1", 0, "2147483647"), ("card", "ZTILE1", 0, "1")]),
    ("FITS images", "mosaic rice", [("card", "ZNAXIS2", 0, "-9223372036854775808"), ("card", "ZIMAGE", 0, "'1QB(9)'")]),
    ("FITS images", "mosaic extension", [("card", "PCOUNT", 0, "9223372036854775807")]),
    ("FITS catalogues", "text x.fits", [("card", "TFIELDS", 0, "2147483647")]),
    ("FITS catalogues", "x.fits", [("set", 5760, "ed")]),
    ("FITS catalogues", "x.fits", [("card", "NAXIS2", 0, "9223372036854775807")]),
    ("FITS catalogues", "heap x.fits", [("card", "TFORM4", 0, "'1QE(99999999999)'")]),
    ("other catalogues", "tabledata x.vot", _votable(data="<BINARY><STREAM href='http://127.0.0.1:9/x'/></BINARY>")),
    ("other catalogues", "tabledata x.vot", _votable(data='<BINARY><STREAM\nhref="file:///etc/hostname"/></BINARY>')),
    ("other catalogues", "tabledata x.vot", _votable(data="<FITS><v:STREAM href='x.fits'/></FITS>")),
    ("other catalogues", "tabledata x.vot", _votable(head=f'<!DOCTYPE x [<!ENTITY e0 "lol">{_ENTITIES}]>')),
    ("other catalogues", "tabledata x.vot", _votable(head="<!DOCTYPE x SYSTEM 'http://127.0.0.1:9/x.dtd'>")),
    ("other catalogues", "tabledata x.vot", [("whole", "<?xml version='1.0'?><VOTABLE>" + "<RESOURCE>" * 100_000)]),
    ("other catalogues", "x.csv", [("whole", "http://127.0.0.1:9/table.csv\n")]),
    ("other catalogues", "x.cat", [("end", 9)]),
    ("other catalogues", "x.cat", [("end", 16)]),
    ("other catalogues", "x.cat", [("insert", 66, "2c2c")]),
    ("archives", "bzip2.zip", [("set", 1674, "8000"), ("set", 1254, "0080"), ("set", 1670, "0000")]),
    ("index", "index.h5, earlier", [("hdf5", "kind", "count", 84)]),
    ("index", "index.h5, earlier", [("set", 7297, "0000000000000100"), ("flip", 3058, 0)]),
    ("index", "index.h5, earlier", [("set", 1888, "000000007fffffff"), ("set", 7297, "0000000000000100")]),
    ("index", "index.h5, earlier", [("flip", 6367, 3)]),
    ("index", "index.h5, earlier", [("flip", 5017, 2)]),
    ("index", "index.h5, earlier", [("flip", 7589, 0)]),
    ("shards", "shards, earlier", [("flip", 3296, 7), ("copy", 840, 13137, 512)]),
    ("shards", "shards, earlier", [("flip", 10331, 4), ("set", 2948, "39")]),
    ("label logs", "labels.sqlite", [("flip", 71530, 0), ("flip", 61243, 7), ("flip", 3233, 7)]),
    ("bundles", "whole.zip", [("flip", 894, 3), ("copy", 1377, 580, 512), ("set", 10970, "0000000080000000")]),
    ("session.toml", "session.toml", [("toml", ["settings", "backbone", "weights"], "a" * 5000)]),
    ("other catalogues", "x.ecsv", [("whole", "# %ECSV 1.0\n# ---\n# - !!python/object/apply:os.system [id]\nid\n")]),
    *(("index", "index.h5", [("hdf5", action, name, 1)]) for action in ("huge", "empty") for name in ("count", "hash")),
    ("index", "index.h5", [("hdf5", "virtual", "ra", 0)]),
    ("shards", "shards", [("hdf5", "storage", "pixels", 0)]),
    ("shards", "shards", [("hdf5", "external", "dec", 0)]),
    ("shards", "shards", [("hdf5", "soft", "failures", 1)]),
    ("scores", "scores", [("hdf5", "huge", "object_id", 1)]),
    ("scores", "scores", [("hdf5", "empty", "dec", 1)]),
    ("cache.json", "cache.json", [("json", ["request"], None)]),
    ("features", "rows.npy", [("set", 63, "00000000ffffffff")]),
    ("label logs", "labels.sqlite", [("sql", "CREATE TRIGGER t AFTER INSERT ON event BEGIN DELETE FROM event; END")]),
    ("session.toml", "session.toml", [("toml", ["settings"], {})]),
    ("session.toml", "session.toml", [("toml", ["settings", "lof"], 0.0)]),
    ("session.toml", "session.toml", [("toml", ["classes"], 1e308)]),
    ("session.toml", "session.toml", [("toml", ["caches"], [])]),
    ("session.toml", "session.toml", [("toml", ["caches", 0], [1])]),
    ("session.toml", "session.toml", [("toml", ["caches", 0], "x" * 5000)]),
    ("recipes", "ranker.json", [("whole", '{"ranker": "probe", "last_event": ' + "9" * 5000 + "}")]),
    ("preferences", "app.json", [("whole", "[" * 100_000)]),
    ("filter expressions", "true", [("whole", "n**n**n > 0")]),
    ("filter expressions", "true", [("whole", "(" * 300 + "mag > 1" + ")" * 300)]),
    ("filter expressions", "true", [("whole", "t * 1000000000 == 'x'")]),
    ("prefix and origins", "host.org:5006", [("whole", "//evil.org/%2e%2e")]),
    (
        "rankings to reproduce",
        "session/labels.sqlite",
        [
            (
                "sql",
                "CREATE TABLE audit_draw (number, time, event, "
                "population, first); INSERT INTO audit_draw VALUES ('x', 1, 2, 3, 4)",
            )
        ],
    ),
)
