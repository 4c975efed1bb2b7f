"""Shared fixtures."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_folder():
    """Folder of real images, from the environment variable ASTROANOMALY_DATA."""
    folder = os.environ.get("ASTROANOMALY_DATA")
    if not folder:
        pytest.skip("ASTROANOMALY_DATA is not set: the folder of real images is needed")
    if not Path(folder).is_dir():
        pytest.skip(f"ASTROANOMALY_DATA={folder} is not a folder")
    return Path(folder)


@pytest.fixture(autouse=True, scope="session")
def ordinary_allocator():
    """Keep commands that run inside the test process from changing its memory allocator."""
    os.environ["ASTROANOMALY_ALLOCATOR"] = "default"
