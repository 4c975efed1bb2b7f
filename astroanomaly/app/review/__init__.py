"""The state of pages: order, filters, verdicts, display, figures, exports. No Bokeh."""
