"""`report.html`: a run, a comparison, a sweep or several runs on one page, which needs no network and no torch."""
