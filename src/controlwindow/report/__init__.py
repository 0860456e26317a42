"""The report of an audit: one offline page, SVG figures and terminal tables, all built from one checked document."""

from controlwindow.report.pages.audit.document import ReportDocument, load_document
from controlwindow.report.pages.audit.tables import coverage_lines, headline_lines, rank_table, verdict_table
from controlwindow.report.sharing import shareable
from controlwindow.report.writing import write_report

__all__ = [
    "ReportDocument",
    "coverage_lines",
    "headline_lines",
    "load_document",
    "rank_table",
    "shareable",
    "verdict_table",
    "write_report",
]
