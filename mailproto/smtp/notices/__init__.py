"""Notices of what became of a message, a bounce for one: how they are made, and what one that comes says.

`make_notice` is in `making`, which writes by `multireport`; `parse_notice` is in `reading`, which takes apart by
`report_parts`.
"""

from mailproto.smtp.notices.making import Action, Notice, Report, is_automatic, make_notice
from mailproto.smtp.notices.reading import ReceivedNotice, ReportedRecipient, Typed, parse_notice

__all__ = [
    "Action",
    "Notice",
    "ReceivedNotice",
    "Report",
    "ReportedRecipient",
    "Typed",
    "is_automatic",
    "make_notice",
    "parse_notice",
]
