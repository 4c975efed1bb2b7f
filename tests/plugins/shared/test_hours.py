"""Hours read as degrees are suspected where an archive has nothing at the positions, and nowhere else."""

import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import QTable, Table

from astroanomaly import given_catalog
from astroanomaly.config import build
from astroanomaly_plugins.shared.blocks import read_blocks
from astroanomaly_plugins.shared.options import ArchiveOptions, PositionOptions

RA, DEC = [1.5, 10.2, 23.9], [2.0, 3.0, 4.0]


@pytest.mark.parametrize(
    ("catalog", "suspected"),
    [
        (Table({"ra": RA, "dec": DEC}), True),
        (QTable({"ra": RA * u.deg, "dec": DEC * u.deg}), True),  # a unit that was put there by mistake
        (QTable({"ra": RA * u.hourangle, "dec": DEC * u.deg}), False),
        (Table({"ra": [1.5, 10.2, 24.1], "dec": DEC}), False),
        (Table({"glon": RA, "glat": DEC}), False),
        (Table({"ra": ["1:30", "10:12", "23:54"], "dec": DEC}), False),
        (SkyCoord(RA, DEC, unit="deg"), False),
    ],
)
def test_hours_are_suspected_of_plain_numbers_below_24_only(catalog, suspected):
    positions = read_blocks(build(ArchiveOptions, {"catalog": catalog})).first
    assert ("if they are hours" in positions.remark) == suspected
    assert ("hourangle" in positions.remark) == suspected


def test_the_option_takes_what_the_function_takes():
    table = Table({"ra": RA, "dec": DEC})
    assert str(build(PositionOptions, {"catalog": table}).catalog) == str(given_catalog(table))
