"""Cut stamps: from an array, its pixel grid and positions to cutouts."""

from astroanomaly.cutting.align import align, align_nearest, aligned_padding
from astroanomaly.cutting.cut import Plane, cut, first_pixels
from astroanomaly.cutting.damaged import BROKEN_ARCHIVE
from astroanomaly.cutting.fits_files import open_fits
from astroanomaly.cutting.fits_headers import check_fits, check_fits_content, check_fits_stream
from astroanomaly.cutting.grids import (
    covering_tan_grid,
    crop_wcs,
    grid_from_hdu,
    pixel_scale_arcsec,
    pixel_sides_arcsec,
    pixel_to_sky,
    same_grid,
    sky_to_pixel,
    tan_grid,
    wcs_from_fits,
)
from astroanomaly.cutting.padding import ConstantArea, constant_areas, is_counts
from astroanomaly.cutting.remarks import quiet
from astroanomaly.cutting.times import middle_time

__all__ = [
    "BROKEN_ARCHIVE",
    "ConstantArea",
    "Plane",
    "align",
    "align_nearest",
    "aligned_padding",
    "check_fits",
    "check_fits_content",
    "check_fits_stream",
    "constant_areas",
    "covering_tan_grid",
    "crop_wcs",
    "cut",
    "first_pixels",
    "grid_from_hdu",
    "is_counts",
    "middle_time",
    "open_fits",
    "pixel_scale_arcsec",
    "pixel_sides_arcsec",
    "pixel_to_sky",
    "quiet",
    "same_grid",
    "sky_to_pixel",
    "tan_grid",
    "wcs_from_fits",
]
