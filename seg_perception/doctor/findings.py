"""What the doctor says: one finding per check and subject."""

from __future__ import annotations

import enum
from typing import NamedTuple


class Status(str, enum.Enum):
    """How bad a finding is; only an error changes the exit code."""

    OK = 'ok'
    WARNING = 'warning'
    ERROR = 'error'


class Finding(NamedTuple):
    """The result of one check on one subject."""

    subject: str
    """'machine', 'transport', 'clock', 'node' or 'camera <name>'."""
    check: str
    """Stable name of the check, as docs/doctor.md lists it."""
    status: Status
    text: str
    """What was found, with figures."""
    remedy: str = ''
    """What to do, a command where there is one; empty when all is well."""


def ok(subject: str, check: str, text: str) -> Finding:
    """Return a finding that needs nothing done."""
    return Finding(subject, check, Status.OK, text)


def warning(subject: str, check: str, text: str, remedy: str) -> Finding:
    """Return a finding that makes results worse or will bite later."""
    return Finding(subject, check, Status.WARNING, text, remedy)


def error(subject: str, check: str, text: str, remedy: str) -> Finding:
    """Return a finding that keeps results from arriving or makes them wrong."""
    return Finding(subject, check, Status.ERROR, text, remedy)
