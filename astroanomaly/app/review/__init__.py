"""What a page knows and does: order, filters, verdicts, display, figures, exports. No Bokeh."""
