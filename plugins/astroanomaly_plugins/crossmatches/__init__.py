"""Crossmatch services: SIMBAD, NED, Gaia and SkyBoT."""
