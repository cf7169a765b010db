"""A capture for each mail that a firewall would cut, and for each connection that it would cut before a mail."""

from __future__ import annotations

from typing import NamedTuple

from smtpinspect._core.views import Flow, Mail
from smtpinspect.diagnose.export.cut import SUFFIX, Cut, Wanted, cut, empty_folder
from smtpinspect.engine import Engine
from smtpinspect.errors import CaptureError
from smtpinspect.grammar import limits
from smtpinspect.source import Input


class Extracted(NamedTuple):
    """The captures, in the order of their names; `left_out` mails were too many for one folder."""

    captures: list[Cut]
    left_out: int


class _Found(NamedTuple):
    flow: Flow
    mail: Mail | None
    until_ns: int | None = None  # where the next mail of the connection begins


def extract(engine: Engine, source: Input, folder: str) -> Extracted:
    """Write `NNNNN-SERVER-RULE.pcapng` for each mail that a rule would break: its connection from the SYN up to the
    next mail. Numbers are in the order of the original capture, so the same capture gives the same names.

    Reads the source twice. Raises UsageError like Engine.run and where the folder is not empty; a damaged capture
    just ends.
    """
    empty_folder(folder, "--extract")
    found, left_out = _broken(engine, source)
    found.sort(key=lambda each: (each.flow.first_packet, each.mail.tx_id if each.mail else 0))
    wanted = [Wanted(each.flow, _name(number, each), each.until_ns) for number, each in enumerate(found, 1)]
    return Extracted(cut(source, wanted, folder) if wanted else [], left_out)


def _broken(engine: Engine, source: Input) -> tuple[list[_Found], int]:
    found: list[_Found] = []
    waiting: dict[int, list[Mail]] = {}  # broken mails of open connections
    begins: dict[int, dict[int, int]] = {}  # of these: where the next mail begins, by its tx_id
    taken = left_out = 0
    try:
        for record in engine.run(source):
            if isinstance(record, Mail):
                before = waiting.get(record.flow_id)
                if before and before[-1].tx_id == record.tx_id - 1:
                    begins[record.flow_id][record.tx_id] = record.start_ns
                if not record.broken_by:
                    continue
                if taken >= limits.EXPORT_MAILS:
                    left_out += 1
                    continue
                taken += 1
                waiting.setdefault(record.flow_id, []).append(record)
                begins.setdefault(record.flow_id, {})
            elif isinstance(record, Flow) and record.flow_id in waiting:
                later = begins.pop(record.flow_id)
                for mail in waiting.pop(record.flow_id):
                    after = later.get(mail.tx_id + 1)
                    # one frame may hold the end of a mail and the next MAIL
                    until = None if after is None else max(after, mail.end_ns + 1)
                    found.append(_Found(record, mail, until))
            elif isinstance(record, Flow) and record.broken_by and not record.mails:
                if taken < limits.EXPORT_MAILS:
                    taken += 1
                    found.append(_Found(record, None))
                else:
                    left_out += 1
    except CaptureError:
        pass  # the report has told
    return found, left_out


def _name(number: int, each: _Found) -> str:
    address = each.flow.server.rpartition(":")[0].strip("[]").replace(":", "-")
    rule = next(iter((each.mail or each.flow).broken_by.values()))
    clean = "".join(char if char.isalnum() or char in ".-" else "_" for char in rule)
    return f"{number:05}-{address}-{clean}{SUFFIX}"
