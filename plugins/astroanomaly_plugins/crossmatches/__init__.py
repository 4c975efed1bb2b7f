"""Crossmatch services: SIMBAD, NED and Gaia."""
