"""Threads and processes behind the page: features, instant rankers, training. No Bokeh."""
