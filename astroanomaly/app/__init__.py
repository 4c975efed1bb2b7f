"""The labelling app: a page in the browser, served by Bokeh."""
