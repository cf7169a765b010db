"""What can go wrong, for the caller. Malformed traffic is never an error: it is a fact."""

from __future__ import annotations


class SmtpInspectError(Exception):
    """Base of all errors that this package raises on purpose."""


class UsageError(SmtpInspectError):
    """Wrong usage or configuration: an unknown inspector, profile, key or value (exit status 2)."""


class CaptureError(SmtpInspectError):
    """A capture that could not be read to its end, or is none (exit status 3).

    `path` names the source, `offset` is the octet at which reading stopped, `record` the number
    (1-based) of the record that could not be read, 0 when the file header itself is at fault.
    `partial` holds what `transcript` could read before it.
    """

    partial: list[dict[str, object]] | None = None
    unit = "record"  # what `record` counts: of a log lines

    def __init__(self, path: str, offset: int, record: int, why: str) -> None:
        self.path, self.offset, self.record, self.why = path, offset, record, why
        super().__init__(f"{path}: {why}")

    def of(self, path: str) -> CaptureError:
        """The same, told of another source: the one of which a copy was read."""
        made = CaptureError(path, self.offset, self.record, self.why)
        made.unit, made.partial = self.unit, self.partial
        return made
