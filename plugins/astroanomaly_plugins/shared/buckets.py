"""Public buckets of S3, read without an account (the extra ``cloud``)."""

from __future__ import annotations

import functools
import os
from typing import Any

from astroanomaly import fetch

__all__ = ["bucket_endpoint", "open_buckets"]

_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")  # as botocore itself reads them


def bucket_endpoint() -> str:
    """Address of an S3 service other than Amazon's; empty for none."""
    return next((os.environ[name] for name in _ENDPOINTS if os.environ.get(name)), "")


def open_buckets(region: str = "") -> Any:
    """Return the file system of s3fs on which public buckets lie.

    It makes one attempt: `astroanomaly.fetch` makes them again, with pauses.

    Parameters
    ----------
    region
        Of Amazon, where the buckets are; empty: s3fs finds out.

    Raises
    ------
    ImportError
        If s3fs is not installed.
    """
    import s3fs

    timeout = fetch.current().timeout_s
    files = s3fs.S3FileSystem(
        anon=True,
        endpoint_url=bucket_endpoint() or None,
        client_kwargs={"region_name": region} if region else {},
        config_kwargs={
            "connect_timeout": timeout,
            "read_timeout": timeout,
            "retries": {"total_max_attempts": 1, "mode": "standard"},
        },
        session=_session(),
    )
    files.retries = 1
    return files


@functools.cache
def _session() -> Any:
    """One session for all services: each would read its own description of S3, tens of megabytes, and keep it."""
    from aiobotocore.session import get_session

    return get_session()
