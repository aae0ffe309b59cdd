"""The charts of a report, a kind a file."""

from playbook.report.charts.chart import Chart
from playbook.report.charts.report_charts import ReportCharts, report_charts
from playbook.report.charts.run_curves import plot_run

__all__ = ["Chart", "ReportCharts", "plot_run", "report_charts"]
