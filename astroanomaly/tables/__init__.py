"""Tables of objects: reading catalogues, column names, writing FITS, VOTable, CSV, Parquet and regions."""
