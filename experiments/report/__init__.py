"""One page, `report.html`, that tells all about a run, a comparison, a sweep, or several of them."""
