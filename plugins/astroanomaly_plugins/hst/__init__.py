"""Cutouts from the archives of the Hubble Space Telescope."""
