"""IRSA: image search by SIA2, tables by TAP, and mosaics in an S3 bucket that anybody may read."""

import json
import sqlite3

import numpy as np
from astropy.table import Table, vstack

from servers.base import NOT_FOUND, Answer, Server
from servers.euclid import votable
from servers.mer import listing, query, schema, touches

BUCKET = "nasa-irsa-euclid-q1"
_CAPABILITIES = """<?xml version="1.0" encoding="UTF-8"?>
<vosi:capabilities xmlns:vosi="http://www.ivoa.net/xml/VOSICapabilities/v1.0"
 xmlns:vs="http://www.ivoa.net/xml/VODataService/v1.1" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
 <capability standardID="ivo://ivoa.net/std/{standard}">
  <interface xsi:type="vs:ParamHTTP" role="std" version="{version}"><accessURL use="{use}">{url}</accessURL></interface>
 </capability>
</vosi:capabilities>
"""
_NAMES = {"VIS": "VIS", "NIR_Y": "Y", "NIR_J": "J", "NIR_H": "H", "DECAM_g": "g"}
_INSTRUMENTS = {"DECAM": "DECam"}


class IrsaServer(Server):
    """Answers as irsa.ipac.caltech.edu does."""

    def __init__(self, survey):
        super().__init__()
        self.survey = survey
        self.collections = ("euclid_DpdMerBksMosaic",)
        self.catalogues = ("euclid_q1_mer_catalogue",)

    def answer(self, asked):
        if asked.path == "/SIA/capabilities":
            text = _CAPABILITIES.format(standard="SIA#query-2.0", version="2.0", use="full", url=f"{self.url}/SIA")
            return Answer(text.encode(), "text/xml")
        if asked.path == "/TAP/capabilities":
            text = _CAPABILITIES.format(standard="TAP", version="1.1", use="base", url=f"{self.url}/TAP")
            return Answer(text.encode(), "text/xml")
        if asked.path == "/SIA":
            return self._images(asked)
        if asked.path == "/TAP/sync":
            return self._rows(asked)
        return NOT_FOUND

    def _images(self, asked):
        shape, ra, dec, radius = asked.get("POS").split()
        assert shape == "CIRCLE"
        assert asked.get("COLLECTION") in self.collections
        rows = []
        for product in self.survey.products:
            if not touches(product, float(ra), float(dec), float(radius)):
                continue
            key = f"q1/MER/{product.tile}/{product.instrument}/{product.path.name}"
            for subtype, name in (("science", key), ("noise", key.replace("BGSUB", "RMS"))):
                rows.append(
                    {
                        "s_ra": product.ra,
                        "s_dec": product.dec,
                        "facility_name": "Euclid",
                        "instrument_name": _INSTRUMENTS.get(product.instrument, product.instrument),
                        "dataproduct_subtype": subtype,
                        "dataproduct_type": "image",
                        "energy_bandpassname": _NAMES[product.filter],
                        "obs_id": f"{product.tile}_{_NAMES[product.filter]}",
                        "access_url": f"https://irsa.ipac.caltech.edu/ibe/data/euclid/{name}",
                        "access_format": "image/fits",
                        "access_estsize": product.path.stat().st_size // 1024,
                        "s_region": product.polygon,
                        "obs_collection": asked.get("COLLECTION"),
                        "cloud_access": json.dumps(
                            {"aws": {"bucket_name": BUCKET, "region": "us-east-1", "key": name}}
                        ),
                    }
                )
        if self.due("duplicate products", asked):
            rows += rows
        names = ("s_ra", "access_url", "s_region", "energy_bandpassname")
        table = Table(rows) if rows else Table({name: np.zeros(0, str if name != "s_ra" else float) for name in names})
        return Answer(votable(table), "application/x-votable+xml")

    def _rows(self, asked):
        adql = asked.get("QUERY")
        catalogue = self.survey.catalogue.copy()
        catalogue.rename_columns(["right_ascension", "declination"], ["ra", "dec"])
        tables = {
            **dict.fromkeys(self.catalogues, catalogue),
            "tap_schema.columns": vstack([schema(name, catalogue) for name in self.catalogues]),
            "tap_schema.tables": listing(*self.catalogues),
            "caom.observation": Table({"collection": [*self.collections, "sloan"]}),
        }
        try:
            table = query(tables, adql)
        except sqlite3.Error as error:
            return Answer(votable(None, str(error)), "application/x-votable+xml", 400)
        return Answer(votable(table), "application/x-votable+xml")


def fill_bucket(endpoint, survey):
    """Put the mosaics into an S3 bucket that is readable for all."""
    import boto3

    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="owner",
        aws_secret_access_key="owner",
    )
    client.create_bucket(Bucket=BUCKET, ACL="public-read")
    for product in survey.products:
        key = f"q1/MER/{product.tile}/{product.instrument}/{product.path.name}"
        client.upload_file(str(product.path), BUCKET, key, ExtraArgs={"ACL": "public-read"})
    client.close()


class BucketServer(Server):
    """Serves the same bucket, reads of parts included, and can misbehave."""

    def __init__(self, survey):
        super().__init__()
        self.files = {
            f"/{BUCKET}/q1/MER/{item.tile}/{item.instrument}/{item.path.name}": item.path for item in survey.products
        }

    def answer(self, asked):
        path = self.files.get(asked.path)
        if path is None:
            text = '<?xml version="1.0"?><Error><Code>NoSuchKey</Code><Message>There is no such key.</Message></Error>'
            return Answer(text.encode(), "application/xml", 404)
        stamp = {"ETag": f'"{path.stat().st_size:x}"', "Last-Modified": "Fri, 18 Oct 2024 14:27:10 GMT"}
        return Answer(path.read_bytes(), "binary/octet-stream", 200, stamp)
