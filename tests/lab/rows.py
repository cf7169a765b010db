"""What the laboratory plays: a row per run, and the matrix of breaks."""

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

CLIENTS = ("exim", "postfix", "sendmail", "opensmtpd")
PHASES = (
    "connect", "greeting", "ehlo", "mail", "rcpt", "datacmd", "reply354", "databody", "datamid", "dot", "dotreply",
    "quit",
)  # fmt: skip
KINDS = ("drop", "rst", "fin")
SMALL, LARGE = 2000, 3_000_000  # octets of a body that fits into the sender's socket, and of one that does not
FITS = 30_000  # what surely fits into the sender's socket
TYPED = "typed"  # as client: a person at a telnet
PIECES = "pieces"  # as client: pieces.py
SCRIPTED = "scripted"  # as server: scripted.py

# Where the server offers PIPELINING and nobody can tell it not to: the client does not take it.
STEP_BY_STEP = {"exim": {"hosts_avoid_pipelining": "*"}}
# The words of --timeouts, in seconds, of every client that can be told. A server waits as long as a command.
TIMEOUTS = {"connect": 5, "command": 5, "data": 5, "final": 7}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One run: a client sends one mail through a box to a server."""

    name: str
    group: str  # the table of the report it is in
    judged: str  # how: a key of judge.JUDGES
    client: str  # an MTA, or TYPED
    server: str = SCRIPTED  # or an MTA
    box: tuple[str, ...] = ()  # arguments of `smtpinspect inline`; none: nothing in the middle
    phase: str = ""
    kind: str = ""
    pipelining: bool = False
    size: int = SMALL  # octets of the body
    mail: str = ""  # a name in texts.MAILS; "" for lines of 70 octets
    mail_from: str = ""  # "" for a@ the client's name
    recipients: tuple[str, ...] = ()  # none: the usual one
    mixed: tuple[str, ...] = ()  # these mails instead, each to the server behind the box and to one past it
    typed: tuple[str, ...] = ()  # of TYPED the lines, of PIECES the pieces
    offers: tuple[str, ...] = ()  # what the scripted server offers in reply to EHLO, beside PIPELINING
    replies: Mapping[str, str] = field(default_factory=dict)  # what the scripted server says instead
    settings: Mapping[str, str] = field(default_factory=dict)  # of the client
    server_settings: Mapping[str, str] = field(default_factory=dict)
    fires: str = ""  # the rule that the box reports; "" for none
    twin: str = ""  # the run whose capture the prediction begins with
    replied: str = ""  # what the last typed line is answered with
    falls: str = ""  # the rule that fits as well, and that accepted mails refute

    @property
    def slow(self) -> bool:
        """It waits for minutes, since the MTA's own time-out cannot be set."""
        stuck = self.phase in ("databody", "datamid") and self.size > FITS
        silent = self.kind == "drop" or (self.kind == "fin" and (stuck or self.phase == "connect"))
        return silent and ("opensmtpd" in (self.client, self.server) or (self.client == "sendmail" and stuck))

    @property
    def arguments(self) -> list[str]:
        """What tells `smtpinspect simulate` about this break."""
        words = ["--mta", self.client, "--at", self.phase, "--break", self.kind, "--size", str(self.size)]
        words += [] if self.server == SCRIPTED else ["--to", self.server]
        return words + ["--pipelining"] * self.pipelining


def broken(
    group: str, client: str, phase: str, kind: str, *, server: str = SCRIPTED, pipelining: bool = False, size: int = 0
) -> Row:
    """A break at a phase; the body's size is the usual one unless given."""
    ends = client if server == SCRIPTED else f"{client}-to-{server}"
    parts = [ends, phase, kind, "pipelining" if pipelining else "", str(size or "")]
    return Row(
        name="-".join(part for part in parts if part),
        group=group,
        judged="sender" if server == SCRIPTED else "receiver",
        client=client,
        server=server,
        box=("--at", phase, "--break", kind),
        phase=phase,
        kind=kind,
        pipelining=pipelining,
        size=size or (LARGE if phase == "datamid" else SMALL),
        settings={} if server == SCRIPTED or pipelining else STEP_BY_STEP[client],
    )


MATRIX = [
    broken("matrix", client, phase, kind, pipelining=pipelining)
    for client, phase, kind, pipelining in itertools.product(CLIENTS, PHASES, KINDS, (False, True))
]

# Around the free room of the sender's socket: does it write all of the text, or does a write block?
SIZES = (20_000, 50_000, 80_000, 120_000, 200_000, 300_000)
MATRIX += [
    broken("matrix", client, phase, kind, size=size)
    for client, phase, kind, size in itertools.product(CLIENTS, ("databody",), KINDS, SIZES)
]

# Behind each phase the server has heard no more than this.
HEARD = ("greeting", "ehlo", "mail", "rcpt", "datacmd", "databody", "dot", "dotreply", "quit")
RECEIVERS = [
    broken("receivers", "exim", phase, kind, server=server)
    for server, phase, kind in itertools.product(CLIENTS, HEARD, KINDS)
]

# Where the server offers CHUNKING, Exim's text goes out in chunks, with PIPELINING in one segment with MAIL and RCPT:
# one for a small mail; for a larger one the headers come first, and are waited for.
CHUNKED = [
    replace(
        broken("chunks", "exim", phase, kind, pipelining=pipelining, size=size),
        name=f"chunk-{phase}-{kind}-{size}{'-pipelining' * pipelining}", judged="read", offers=("CHUNKING",),
    )
    for (phase, size), kind, pipelining in itertools.product(
        (("mail", SMALL), ("datacmd", SMALL), ("datacmd", 100_000), ("datamid", 100_000), ("datamid", LARGE),
         ("dotreply", SMALL), ("dotreply", 100_000)),
        KINDS, (False, True),
    )
]  # fmt: skip

_FEW = {
    "exim": ("connect-drop", "greeting-fin", "mail-drop-pipelining", "rcpt-rst", "databody-drop", "datamid-drop",
             "dotreply-rst-pipelining"),
    "postfix": ("connect-rst", "ehlo-drop", "mail-drop-pipelining", "datacmd-fin", "datamid-fin", "dot-drop",
                "quit-rst"),
    "sendmail": ("greeting-drop", "ehlo-rst", "rcpt-fin", "reply354-drop-pipelining", "datamid-rst", "dot-drop"),
    "opensmtpd": ("connect-rst", "mail-rst", "datamid-rst", "dotreply-fin"),
}  # fmt: skip
_FEW_HEARD = (
    "exim-rcpt-drop", "exim-databody-rst", "postfix-mail-fin", "postfix-databody-drop", "sendmail-datacmd-rst",
    "sendmail-databody-drop", "opensmtpd-ehlo-rst", "opensmtpd-databody-fin",
)  # fmt: skip


def few(rows: Iterable[Row], names: Iterable[str]) -> list[Row]:
    """The rows of these names, all of which must be there."""
    by_name = {row.name: row for row in rows}
    return [by_name[name] for name in names]


SELECTION = few(MATRIX, (f"{client}-{name}" for client, names in _FEW.items() for name in names))
SELECTION += few(RECEIVERS, (f"exim-to-{name}" for name in _FEW_HEARD))
SELECTION += few(CHUNKED, (
    "chunk-mail-drop-2000-pipelining", "chunk-datamid-rst-3000000", "chunk-dotreply-drop-100000-pipelining",
))  # fmt: skip
