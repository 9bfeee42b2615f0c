"""Reports as text for machines and browsers: JSON, SARIF 2.1.0, HTML. The terminal's is with the command."""

from foreword.audit.reports.as_html import html_report
from foreword.audit.reports.as_json import finding_line, json_report
from foreword.audit.reports.as_sarif import sarif_report
from foreword.audit.reports.notes import notes

__all__ = ["finding_line", "html_report", "json_report", "notes", "sarif_report"]
