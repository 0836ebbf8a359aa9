"""One self-contained HTML page per benchmark run: tables, plots, and every episode played back from above."""

from harness.report.html.page import FILE, write_report

__all__ = ["FILE", "write_report"]
