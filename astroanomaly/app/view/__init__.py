"""The page: its layout, keys, look and panels, in Bokeh."""
