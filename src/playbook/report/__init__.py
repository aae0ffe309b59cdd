"""Charts and pages, made from tables alone."""
