"""A record that somebody has sent, replayed: set ASTROANOMALY_REPLAY to its folder."""

import os
from collections import Counter
from pathlib import Path

import pytest

from astroanomaly import AstroAnomalyError, ingest
from astroanomaly.fetch.recording.run import read_record
from astroanomaly.ingestion.ingest import dry_run
from astroanomaly.ingestion.request import SourceRequest

ADDRESSES = ("ASTROANOMALY_EUCLID_SERVER", "ASTROANOMALY_IRSA_SERVER", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")


@pytest.fixture
def given(monkeypatch):
    """The folder, and what it says of its run; servers are named as they were there, and any login will do."""
    folder = os.environ.get("ASTROANOMALY_REPLAY")
    if not folder:
        pytest.skip("ASTROANOMALY_REPLAY is not set: the folder of a record that somebody has sent")
    about = read_record(Path(folder))
    if not isinstance(about["request"].get("source"), str):
        pytest.skip(f"{folder} is no record of a source: look at its files")
    for name in ADDRESSES:
        monkeypatch.delenv(name, raising=False)
        if name in about["environment"]:
            monkeypatch.setenv(name, str(about["environment"][name]))
    for prefix in ("EUCLID", "VO"):
        for word in ("TOKEN", "USER", "PASSWORD", "CERTIFICATE", "CREDENTIALS"):
            monkeypatch.delenv(f"{prefix}_{word}", raising=False)
    for name in ("EUCLID_USER", "EUCLID_PASSWORD", "VO_TOKEN"):
        monkeypatch.setenv(name, "of-the-replay")
    return folder, about


def test_the_run_ends_as_it_did(given, tmp_path):
    folder, about = given
    source, fetch = about["request"]["source"], {"replay": folder, "keep": str(tmp_path / "kept")}
    expected = {"error": about["error"], "digest": "", "failed": {}, **about["outcome"]}
    expected.pop("cut", None)
    found = {"error": "", "digest": "", "failed": {}}
    try:
        if about["error"] or "digest" in about["outcome"]:
            cache = ingest(source, out=tmp_path / "cache", fetch=fetch)
            found["digest"] = cache.digest()
            found["failed"] = Counter(one.reason for one in cache.failures if one.kind in ("failed", "no position"))
        else:
            dry_run(SourceRequest.of(source, fetch=fetch))
    except AstroAnomalyError as error:
        found["error"] = str(error)
    assert found == expected
