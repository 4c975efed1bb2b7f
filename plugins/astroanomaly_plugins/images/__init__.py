"""Folders and archives of PNG, JPEG and TIFF pictures."""
