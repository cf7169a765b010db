"""What a model of a mail server tells: time-outs, log lines, the fate of a mail; and how an attempt ended."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
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
Cause = Literal["timeout", "closed", "reset", "refused", "unreachable", "reply", "malformed", "sent"]
Next = Literal["continue", "helo", "defer", "bounce", "skip"]  # skip: this recipient alone has failed
Fate = Literal["deferred", "bounced", "delivered"]
Scope = Literal["message", "host", "address"]

DAY: Final = 86_400


class Envelope(NamedTuple):
    """Who writes to whom by which host. `ip` and `port` are the server's, `source` the client's address."""

    sender: str = "sender@example.com"
    recipients: tuple[str, ...] = ("recipient@example.net",)
    helo: str = "client.example.com"
    host: str = "mx.example.net"
    ip: str = "192.0.2.25"
    port: int = 25
    source: str = "198.51.100.25"
    size: int = 0  # octets of the message in the queue
    declared: bool = False  # the host was given as an address, and its name is that address


class Ending(NamedTuple):
    """How one attempt ended, as its client saw it.

    `command` is the text of the command waited for ("MAIL FROM:<a@b> SIZE=3"), `pipelined` whether its group was
    sent in one go. `reply` is the deciding reply, lines joined by LF. `later` is the last reply that came after it
    (to RSET or QUIT). `written`: octets of the text that the kernel had taken, None before the text.
    `kernel`: TCP gave up before the client's own timer. `fast_open`: connect() had returned before the handshake.
    `starred`: the greeting was `220 ***`. `refused_ehlo`: the reply to the EHLO that HELO followed.
    `connecting`: seconds of `seconds` spent up to the reply to EHLO or HELO. `started`: wall clock, seconds since 1970.
    """

    step: Step
    cause: Cause
    seconds: float = 0.0
    envelope: Envelope = Envelope()
    command: str = ""
    pipelined: bool = False
    reply: str = ""
    later: str = ""
    written: int | None = None
    kernel: bool = False
    fast_open: bool = False
    starred: bool = False
    refused_ehlo: str = ""
    connecting: float = 0.0
    more_hosts: bool = False
    started: float = 1_767_225_600.0

    @property
    def code(self) -> int:
        """The deciding reply's code; 0 without one."""
        return int(self.reply[:3]) if self.reply[:3].isdigit() else 0


class Judgement(NamedTuple):
    """What becomes of the mail: `Sender.fate`. `scope`: who else waits until the next attempt."""

    fate: Fate
    scope: Scope
    duplicate_risk: bool
    next_mx: bool  # another MX is tried at once, if there is one


class Timer(NamedTuple):
    """A time-out of a step: the setting that holds it ("" when it cannot be set), seconds, where it is written.

    `group` is the word of `--timeouts` that sets it ("" when none does).
    """

    step: Step
    setting: str
    seconds: float
    group: str
    basis: Basis
    source: str


class Row(NamedTuple):
    """A phrase of a log: the steps and causes that it stands for, its template, how sure, by what source."""

    steps: tuple[Step, ...]
    causes: tuple[Cause, ...]
    text: str
    basis: Basis
    source: str


class Sender(ABC):
    """An MTA as a client. Stateless: a table and what reads it."""

    name: ClassVar[str]  # what --mta takes
    title: ClassVar[str]  # "Exim 4.96"
    fast_open: ClassVar[bool] = False  # connect() returns at once, the request rides on the SYN
    esmtp: ClassVar[bool] = True  # EHLO first
    pipelines: ClassVar[bool] = False  # uses PIPELINING where offered: MAIL, RCPTs and DATA in one go
    pipelines_quit: ClassVar[bool] = False  # QUIT rides behind the end of data where PIPELINING is offered
    half_closes: ClassVar[bool] = False  # and the client's FIN with it
    declares_size: ClassVar[bool] = True  # MAIL ... SIZE= where SIZE is offered
    awaits_quit: ClassVar[bool] = True
    write_block: ClassVar[int] = 4096  # octets of one write() of the text
    mail_command: ClassVar[str] = "MAIL FROM:<{}>"
    rcpt_command: ClassVar[str] = "RCPT TO:<{}>"
    starttls: ClassVar[bool] = True  # takes STARTTLS where offered, goes on in clear text where it is lost
    timers: ClassVar[tuple[Timer, ...]]
    gives_up_after: ClassVar[int]  # seconds a mail lives in the queue

    def timeouts(self, overrides: Mapping[str, float] | None = None) -> dict[Step, float]:
        """Seconds per step; `overrides` by group: connect, command, data, final. What cannot be set stays."""
        given = overrides or {}
        return {
            timer.step: given.get(timer.group, timer.seconds) if timer.setting else timer.seconds
            for timer in self.timers
        }

    def greets_with(self, greeting: str) -> Step:
        """`ehlo` or `helo`, by the greeting."""
        return "ehlo" if self.esmtp else "helo"

    @abstractmethod
    def next_after(self, step: Step, reply: str) -> Next:
        """What it does at a reply (its text, any code) to `step`."""

    def after_refusal(self, step: Step, reply: str) -> tuple[str, ...]:
        """The commands that it still sends, in order, when a reply has decided the mail's fate."""
        return ("QUIT",)

    @abstractmethod
    def log(self, ending: Ending) -> list[str]:
        """The lines that it writes for this attempt and its first recipient, in its real layout."""

    @abstractmethod
    def fate(self, ending: Ending) -> Judgement:
        """What becomes of the mail."""

    @abstractmethod
    def attempts(self, seconds: float = 0.0) -> Sequence[int]:
        """When it tries, in seconds since the first attempt (0), until it gives up; each attempt takes `seconds`."""

    @abstractmethod
    def final_log(self, ending: Ending) -> list[str]:
        """The line of the last attempt or of the queue, when the mail has grown too old."""

    @abstractmethod
    def mask(self, line: str) -> str:
        """The line without ids, times, addresses and counts that differ from mail to mail."""


class Loss(NamedTuple):
    """How a session ended, as its server saw it. `step` is the last one that the server has answered or read.

    `body`: octets of the text that have arrived; `header_done`: the empty line was among them.
    """

    step: Step
    cause: Literal["timeout", "closed", "reset", "quit"]
    seconds: float = 0.0
    envelope: Envelope = Envelope()
    esmtp: bool = True
    body: int = 0
    header_done: bool = False
    accepted: bool = False  # the mail has its 250
    started: float = 1_767_225_600.0


class Receiver(ABC):
    """An MTA as a server."""

    name: ClassVar[str]
    title: ClassVar[str]
    timers: ClassVar[tuple[Timer, ...]]
    extensions: ClassVar[tuple[str, ...]]
    replies: ClassVar[Mapping[str, str]]  # by step, `{host}` and `{helo}` filled in by `reply`

    def read_timeout(self, step: Step, overrides: Mapping[str, float] | None = None) -> float:
        """Seconds that it waits for the client's next octet after having answered `step` (`body`: in the text)."""
        given = overrides or {}
        for timer in self.timers:
            if timer.step == step:
                return given.get(timer.group, timer.seconds) if timer.setting else timer.seconds
        return self.timers[0].seconds

    @abstractmethod
    def reply(self, step: Step, envelope: Envelope) -> str:
        """Its own reply, lines joined by LF."""

    @abstractmethod
    def timeout_reply(self, step: Step, envelope: Envelope) -> str:
        """What it sends before it closes when the client was silent; "" for nothing."""

    @abstractmethod
    def keeps(self, cause: Literal["closed", "reset"]) -> bool:
        """Does it accept a mail behind whose end mark a FIN (`closed`) or an RST has come already?"""

    @abstractmethod
    def log(self, loss: Loss) -> list[str]:
        """The lines that it writes for this session, in its real layout."""

    @abstractmethod
    def mask(self, line: str) -> str:
        """The line without ids, times, addresses and counts."""
