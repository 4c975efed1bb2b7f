"""Positions and angles: unit vectors, circles and cells of the sky; what people give for angles, positions, sizes.

All positions are ICRS degrees.
"""

from astroanomaly.sky.places import cells, enclosing_circle, mean_position, unit_vectors
from astroanomaly.sky.text import (
    angle_text,
    arcsec_number,
    position_text,
    read_angle,
    read_position,
    size_in_pixels,
    size_or_angle,
    size_text,
)

__all__ = [
    "angle_text",
    "arcsec_number",
    "cells",
    "enclosing_circle",
    "mean_position",
    "position_text",
    "read_angle",
    "read_position",
    "size_in_pixels",
    "size_or_angle",
    "size_text",
    "unit_vectors",
]
