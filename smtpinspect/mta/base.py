"""What a model of a mail server tells: time-outs, log lines, the fate of a mail; and how an attempt ended."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Final, Literal, NamedTuple

from smtpinspect.actions import Basis

# Where a client waits or writes. A pipelined group is waited for at its first command.
Step = Literal[
    "connect",
    "greeting",
    "ehlo",
    "helo",
    "starttls",
    "auth",
    "mail",
    "rcpt",
    "datacmd",
    "body",
    "dot",
    "rset",
    "quit",
]
# timeout: its own timer, or the kernel's (`Ending.kernel`). closed: end of file. reset: ECONNRESET or EPIPE.
# refused, unreachable: of connect. reply: a refusal. malformed: octets that are no reply. sent: 250 to the end of data.
# lacking: STARTTLS or AUTH (the step says which), which this client was told never to do without, was not offered.
Cause = Literal["timeout", "closed", "reset", "refused", "unreachable", "reply", "malformed", "lacking", "sent"]
Next = Literal["continue", "helo", "defer", "bounce", "skip"]  # skip: only this recipient is out
Fate = Literal["deferred", "bounced", "delivered"]
Scope = Literal["message", "host", "address"]

MINUTE: Final = 60
HOUR: Final = 3_600
DAY: Final = 86_400
HANDSHAKE: Final[tuple[Step, ...]] = ("connect", "greeting", "ehlo", "helo")  # before there is a transaction
BREAKS: Final[tuple[Cause, ...]] = ("timeout", "closed", "reset")


class Envelope(NamedTuple):
    """Who writes to whom by which host.

    `ip` and `port` are the server's, `source` the client's address. `size`: octets of the message in the queue, line
    ends counted once; it enters Sendmail's `pri=`.
    """

    sender: str
    recipients: tuple[str, ...]
    helo: str
    host: str
    ip: str
    source: str
    port: int = 25
    size: int = 0

    @property
    def recipient(self) -> str:
        """The first one: logs are written for it."""
        return self.recipients[0] if self.recipients else ""


def bench(helo: str, host: str = "10.9.2.2") -> Envelope:
    """The mail of the reference laboratory (mta.md, section 12)."""
    return Envelope(f"a@{helo}", ("u@example.net",), helo, host, "10.9.2.2", "10.9.1.1")


def submitted(envelope: Envelope, body: int) -> bytes:
    """A test mail as it is handed to the MTA: LF, three header fields, lines of 70 octets, `body` octets at most."""
    head = f"From: <{envelope.sender}>\nTo: <{envelope.recipient}>\nSubject: test\n\n"
    return head.encode() + (b"x" * 70 + b"\n") * (body // 71)


def lacks(text: bytes, field: bytes) -> bool:
    """Is a header field (lower case, with its colon) missing from a text with LF?"""
    return b"\n" + field not in b"\n" + text.partition(b"\n\n")[0].lower()


class Ending(NamedTuple):
    """How one attempt ended, as its client saw it.

    `command` is the text of the command waited for ("MAIL FROM:<a@b> SIZE=3"), `pipelined` whether it went out in a
    group with others. `reply` is the deciding reply, lines joined by LF. `later` is the last reply that came
    after it (to RSET or QUIT). `written`: octets of the text, end mark included, that the kernel had taken; None
    before the text. `chunked`: it went by BDAT; `chunk`: a chunk went out with MAIL and RCPT, and what waits for any of
    their replies is named after this step. `kernel`: TCP gave up before the client's own timer. `fast_open`: connect()
    had returned before the handshake. `starred`: the greeting was `220 ***`. `refused_ehlo`: the reply to the EHLO that
    HELO followed. `enhanced`: the server had advertised ENHANCEDSTATUSCODES. `connecting`: how many of `seconds` had
    passed when EHLO or HELO was answered. `more_hosts`: another address of the domain is left. `started`: seconds since
    1970.
    """

    step: Step
    cause: Cause
    envelope: Envelope
    seconds: float = 0.0
    command: str = ""
    pipelined: bool = False
    reply: str = ""
    later: str = ""
    written: int | None = None
    kernel: bool = False
    fast_open: bool = False
    starred: bool = False
    refused_ehlo: str = ""
    enhanced: bool = False
    connecting: float = 0.0
    more_hosts: bool = False
    chunk: Step | None = None
    chunked: bool = False
    started: float = 1_767_225_600.0

    @property
    def code(self) -> int:
        """The deciding reply's code; 0 without one."""
        return int(self.reply[:3]) if self.reply[:3].isdigit() else 0

    @property
    def temporary(self) -> bool:
        """A refusal that is no 5xx."""
        return not 500 <= self.code < 600

    @property
    def ended(self) -> float:
        """Seconds since 1970."""
        return self.started + self.seconds


class Judgement(NamedTuple):
    """What becomes of the mail.

    `scope`: who else waits until the next attempt. `duplicate_risk`: the client cannot know whether the server has
    accepted the mail. `next_mx`: another address of the domain is tried at once, if there is one.
    """

    fate: Fate
    scope: Scope
    duplicate_risk: bool
    next_mx: bool


class Timer(NamedTuple):
    """A time-out: its steps, the setting that holds it ("" where none does), seconds, the word of `--timeouts`."""

    steps: tuple[Step, ...]
    setting: str
    seconds: float
    group: Literal["connect", "command", "data", "final", ""]
    basis: Basis
    source: str


class Row(NamedTuple):
    """A phrase of a log: the steps and causes that it stands for (none: all), how sure, by what source.

    `fits` says when else it holds. Of several rows that hold the first one counts.
    """

    steps: tuple[Step, ...]
    causes: tuple[Cause, ...]
    text: str
    basis: Basis
    source: str
    fits: Callable[[Ending], bool] | None = None


def phrase(rows: Sequence[Row], ending: Ending) -> str:
    """The text of the first row that holds; "" when none does."""
    for row in rows:
        if (row.steps and ending.step not in row.steps) or (row.causes and ending.cause not in row.causes):
            continue
        if row.fits is None or row.fits(ending):
            return row.text
    return ""


def seconds_of(timers: Sequence[Timer], overrides: Mapping[str, float] | None) -> dict[Step, float]:
    """Seconds per step; an override counts only where a setting holds the time-out."""
    given = overrides or {}
    return {
        step: float(given.get(timer.group, timer.seconds)) if timer.setting else float(timer.seconds)
        for timer in timers
        for step in timer.steps
    }


class Sender(ABC):
    """An MTA as a client. Stateless: a table and what reads it."""

    name: ClassVar[str]  # what --mta takes
    title: ClassVar[str]
    example: ClassVar[Envelope]  # where no capture tells
    timers: ClassVar[tuple[Timer, ...]]
    phrases: ClassVar[tuple[Row, ...]]
    gives_up_after: ClassVar[int]  # seconds a mail lives in the queue
    fast_open: ClassVar[bool] = False  # connect() returns at once, the request rides on the SYN
    esmtp: ClassVar[bool] = True  # EHLO first
    pipelines: ClassVar[tuple[Step, ...]] = ()  # sent in one go where PIPELINING is offered
    pipelines_quit: ClassVar[bool] = False  # QUIT rides behind the end of data where PIPELINING is offered
    half_closes: ClassVar[bool] = False  # and the client's FIN with it
    chunk_most: ClassVar[int] = 0  # octets of a text that is one chunk, which joins a group; of a larger one the header
    dot_apart: ClassVar[bool] = False  # the end mark is a write() of its own
    declares_size: ClassVar[bool] = True  # MAIL ... SIZE= where SIZE is offered
    awaits_quit: ClassVar[bool] = True
    write_block: ClassVar[int] = 4096  # octets of one write() of the text
    polls: ClassVar[bool] = True  # asks for room before it writes; else it sleeps in write() until all is taken
    mail_command: ClassVar[str] = "MAIL FROM:<{}>"
    rcpt_command: ClassVar[str] = "RCPT TO:<{}>"
    starttls: ClassVar[bool] = True  # takes STARTTLS where offered, goes on in clear text where it is lost
    tls_needs_ehlo: ClassVar[bool] = False  # told never to do without TLS, it does not fall back to HELO

    def timeouts(self, overrides: Mapping[str, float] | None = None) -> dict[Step, float]:
        """Seconds per step; `overrides` by group: connect, command, data, final. What cannot be set stays."""
        return seconds_of(self.timers, overrides)

    def greets_with(self, greeting: str) -> Step:
        """`ehlo` or `helo`, by the greeting."""
        return "ehlo" if self.esmtp else "helo"

    def starred(self, greeting: str) -> bool:
        """Does it take this greeting for one that a firewall has masked?"""
        return False

    def message(self, envelope: Envelope, submitted: bytes, started: float) -> bytes:
        """The text as it goes over the wire: its header fields in front, CRLF, dots stuffed; without the end mark."""
        text = b"".join(self.received(envelope, submitted, started)) + submitted
        text = text.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        if text and not text.endswith(b"\r\n"):
            text += b"\r\n"
        return text.replace(b"\r\n.", b"\r\n..")

    def received(self, envelope: Envelope, submitted: bytes, started: float) -> tuple[bytes, ...]:
        """The header fields that it puts in front of a mail that was submitted on its own machine."""
        return ()

    @abstractmethod
    def next_after(self, step: Step, reply: str) -> Next:
        """What it does at a reply (its text, any code) to `step`."""

    def after_refusal(self, step: Step, reply: str) -> tuple[str, ...]:
        """The commands that it still sends, in order, when a reply has decided the mail's fate."""
        return ("QUIT",)

    @abstractmethod
    def text(self, ending: Ending) -> str:
        """The phrase alone, without time, ids and recipient; "" where only the kernel's word is logged."""

    @abstractmethod
    def log(self, ending: Ending) -> list[str]:
        """The lines that it writes for this attempt and its first recipient, in its real layout."""

    @abstractmethod
    def fate(self, ending: Ending) -> Judgement:
        """What becomes of the mail."""

    @abstractmethod
    def attempts(self, seconds: float = 0.0) -> list[int]:
        """When it tries: seconds since the first attempt (0), until it gives up; each attempt takes `seconds`."""

    @abstractmethod
    def final_log(self, ending: Ending) -> list[str]:
        """The lines that tell that the mail has grown too old; `ending` is the last attempt's."""

    @abstractmethod
    def mask(self, line: str) -> str:
        """The line without ids, times, addresses and counts that differ from mail to mail."""


class Loss(NamedTuple):
    """How a session ended, as its server saw it. `step`: the last one that it has answered; `body`: text was coming.

    `octets` of the text have arrived, `header_done` tells whether the empty line was among them. `accepted`: the mail
    has had its 250. `recipients`: how many the server has accepted. `peer`: the client's name, "" when unknown.
    """

    step: Step
    cause: Literal["timeout", "closed", "reset", "quit"]
    envelope: Envelope
    seconds: float = 0.0
    esmtp: bool = True
    octets: int = 0
    header_done: bool = False
    accepted: bool = False
    peer: str = ""
    started: float = 1_767_225_600.0

    @property
    def ended(self) -> float:
        """Seconds since 1970."""
        return self.started + self.seconds


class Receiver(ABC):
    """An MTA as a server."""

    name: ClassVar[str]
    title: ClassVar[str]
    timers: ClassVar[tuple[Timer, ...]]  # `body`: between octets of the text; other steps: for the next command
    extensions: ClassVar[tuple[str, ...]]
    replies: ClassVar[Mapping[str, str]]  # by step; {host} {helo} {sender} {rcpt} {id} are filled in

    def read_timeout(self, step: Step, overrides: Mapping[str, float] | None = None) -> float:
        """Seconds that it waits for the client's next octet when `step` was answered (`body`: amid the text)."""
        return seconds_of(self.timers, overrides)[step]

    def reply(self, step: Step | Literal["other"], envelope: Envelope) -> str:
        """Its own reply, lines joined by LF; `other`: to a command that it does not know."""
        words = {"host": envelope.host, "helo": envelope.helo, "sender": envelope.sender, "rcpt": envelope.recipient}
        return self.replies[step].format(id=self.example_id, **words)

    example_id: ClassVar[str] = "ABC123"

    @abstractmethod
    def timeout_reply(self, step: Step, envelope: Envelope) -> str:
        """What it sends before it closes when the client was silent; "" for nothing."""

    @abstractmethod
    def keeps(self, cause: Literal["closed", "reset"]) -> bool:
        """Does it accept a mail behind whose end mark a FIN (`closed`) or an RST has come already?"""

    @abstractmethod
    def text(self, loss: Loss) -> str:
        """The phrase that tells of the break, without time and ids; "" where no line does."""

    @abstractmethod
    def log(self, loss: Loss) -> list[str]:
        """The lines that it writes for this session, in its real layout."""

    @abstractmethod
    def mask(self, line: str) -> str:
        """The line without ids, times, addresses and counts."""
