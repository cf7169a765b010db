"""The reference's runs of real mail servers: what was done to the flow, and the log lines of the first attempt."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, NamedTuple

from smtpinspect.mta.base import Cause, Ending, Sender, Step, submitted

FOLDER: Final = Path(__file__).resolve().parents[1].parent / "shared" / "reference" / "mta-pcaps"
ABSENT: Final = "no folder shared/reference/mta-pcaps beside the project: nothing real to compare with"

_HEAD: Final = re.compile(
    r"# client=(?P<mta>\w+)\S*.* phase=(?P<phase>\w+) kind=(?P<kind>\w+) server_extensions=(?P<extensions>\w*) "
    r"overrides=(?P<overrides>.*?) ?body_bytes=(?P<size>\d+) elapsed=(?P<elapsed>[\d.]+)s"
)
# Which lines of a log are of this attempt, by what they hold; the first group, where there is one, is the mail's id.
_OWN: Final = {
    "exim": re.compile(r"^\S+ \S+ (\S+) (?:H=|== |\*\* |=> )"),
    "postfix": re.compile(r"postfix/smtp\[\d+\]: (?:([0-9A-F]+): |connect to)"),
    "sendmail": re.compile(r"sendmail\[\d+\]: (\w+): (?!from=|to=\w*[@-]?(?:a@|postmaster|MAILER)|\w+: )"),
    "opensmtpd": re.compile(r"^(?:([0-9a-f]{16}) mta |smtp-out: )"),
}
_ARRIVED: Final = {
    "exim": re.compile(r"^\S+ \S+ (\S+) <= a@"),
    "postfix": re.compile(r"postfix/cleanup\[\d+\]: ([0-9A-F]+): message-id"),
    "sendmail": re.compile(r"sendmail\[\d+\]: (\w+): from="),
    "opensmtpd": re.compile(r"^([0-9a-f]{16}) mta connecting"),
}
_OF_PHASE: Final[dict[str, Step]] = {"reply354": "datacmd", "databody": "dot", "datamid": "body", "dotreply": "dot"}
_OF_OVERRIDE: Final[dict[str, Step]] = {"data": "datacmd"}
_OF_KIND: Final[dict[str, Cause]] = {"drop": "timeout", "fin": "closed", "rst": "reset"}
# The scripted server of the laboratory (lab-srv.py): it knows no RSET.
_NO_RSET: Final = "502 5.5.2 Error: command not recognized"
_GO_AHEAD: Final = "354 End data with <CR><LF>.<CR><LF>"
_BYE: Final = "221 2.0.0 Bye"
QUEUED: Final = "250 2.0.0 Ok: queued as ABC123"


class Run(NamedTuple):
    """One file: what was done, and what the log said."""

    name: str
    mta: str
    phase: str
    kind: str
    pipelining: bool
    override: tuple[str, str] | None
    size: int
    seconds: float
    lines: tuple[str, ...]


def read(path: Path) -> Run | None:
    """A file of the reference; None for one that is no run."""
    text = path.read_text(encoding="utf-8", errors="replace")
    head = _HEAD.search(text)
    if head is None:
        return None
    mta = head["mta"].lower()
    overridden, _, reply = head["overrides"].partition("=")
    override = (overridden, reply) if overridden else None
    return Run(
        path.stem,
        mta,
        head["phase"],
        head["kind"],
        "PIPELINING" in head["extensions"],
        override,
        int(head["size"]),
        float(head["elapsed"]),
        tuple(_attempt(mta, [line for line in text.splitlines() if not line.startswith("#")])),
    )


def _attempt(mta: str, lines: list[str]) -> list[str]:
    """The lines of the first mail's first attempt that are of its client side."""
    ids = [match[1] for line in lines if (match := _ARRIVED[mta].search(line))]
    # Several mails may share a log: the first one that a client line is of.
    own = [(match[1], line) for line in lines if (match := _OWN[mta].search(line))]
    first = next((identity for identity, _ in own if identity in ids), None)
    return [line for identity, line in own if identity in (first, None)]


def ending(run: Run, sender: Sender) -> Ending:
    """How that attempt ended, by the rules of mta.md, section 8."""
    mail = sender.example
    text = submitted(mail, run.size)
    mail = mail._replace(size=len(text))
    sent = len(sender.message(mail, text, 0.0)) + len(".\r\n")
    if run.override:
        return _refused(run, sender, Ending("dot", "sent", mail, reply=QUEUED), *run.override)
    if run.phase == "quit":
        return Ending("dot", "sent", mail, run.seconds, reply=QUEUED)
    step: Step = _OF_PHASE.get(run.phase, run.phase)  # type: ignore[arg-type]
    cause = _OF_KIND[run.kind]
    if step == "connect":
        # nobody believes a FIN in reply to a SYN
        cause = "refused" if run.kind == "rst" else "timeout"
    if step == "body" and run.kind == "fin":
        cause = "timeout"  # it writes on into a half-closed socket
    pipelined = run.pipelining and step in sender.pipelines and len(sender.pipelines) > 1
    if pipelined and run.phase != "reply354":
        step = sender.pipelines[0]
    written = sent if step == "dot" else sent // 2 if step == "body" else None
    return Ending(
        step,
        cause,
        mail,
        run.seconds,
        command_of(sender, step),
        pipelined,
        written=written,
        fast_open=sender.fast_open,
    )


def _refused(run: Run, sender: Sender, sent: Ending, at: str, reply: str) -> Ending:
    step: Step = _OF_OVERRIDE.get(at, at)  # type: ignore[arg-type]
    if step == "greeting" and sender.starred(reply):
        return sent._replace(starred=True)
    if sender.next_after(step, reply) in ("continue", "helo"):
        return sent._replace(refused_ehlo=reply)
    later = {"RSET": _NO_RSET, "QUIT": _BYE}[sender.after_refusal(step, reply)[0]]
    pipelined = run.pipelining and step in sender.pipelines and len(sender.pipelines) > 1
    if pipelined and step == "rcpt":
        later = _GO_AHEAD  # to the DATA that went out with it
    return sent._replace(
        step=step, cause="reply", reply=reply, later=later, command=command_of(sender, step), pipelined=pipelined
    )


def command_of(sender: Sender, step: Step) -> str:
    """The command's text where no extension adds to it."""
    mail = sender.example
    return {
        "ehlo": f"EHLO {mail.helo}",
        "helo": f"HELO {mail.helo}",
        "mail": sender.mail_command.format(mail.sender),
        "rcpt": sender.rcpt_command.format(mail.recipient),
        "datacmd": "DATA",
        "quit": "QUIT",
    }.get(step, "")
