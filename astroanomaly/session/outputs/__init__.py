"""What a colleague can open without this program: FITS cutouts, a report, a bundle of both with tables and labels."""
