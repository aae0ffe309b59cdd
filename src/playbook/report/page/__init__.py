"""The report as one HTML file."""

from playbook.report.page.render import render

__all__ = ["render"]
