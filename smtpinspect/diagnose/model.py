"""What the steps of a diagnosis hand on: a case per mail, and what each step finds out about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from smtpinspect._core.views import Alert, Flow, Mail
from smtpinspect.diagnose.trace import Sign as Sign
from smtpinspect.diagnose.trace import Trace

if TYPE_CHECKING:
    from smtpinspect.diagnose.account import Account
    from smtpinspect.inspectors.base import Inspector
    from smtpinspect.simulate.script import Script, Transaction

# Three degrees of truth that never mix. Only the first and the last may be called certain.
Degree = Literal["proved", "fits", "confirmed"]
Confidence = Literal["certain", "likely", "possible", "unlikely"]
CauseKind = Literal["rule", "look-alike", "unknown-filter"]
BreakKind = Literal["drop", "rst", "fin", "reply", "none"]
By = Literal["client", "server", "middlebox", "unknown"]
Where = Literal["sender", "receiver", "between", "unknown"]

Path = tuple[str, str]  # addresses of client and server, without their ports

# Defined once, for `--help` and for every page; weakest last.
CONFIDENCE: Final[Mapping[Confidence, str]] = {
    "certain": "the packets themselves, or the firewall's own log, show it",
    "likely": "a rule: the break and a fingerprint of that product on this path fit, and no accepted mail speaks "
    "against it; a look-alike, which needs no product: other packets of the capture show what it would do, or a reply "
    "says so",
    "possible": "a rule or a look-alike: the break fits; nothing else tells which product, or that it was so",
    "unlikely": "it could be, but something in the capture speaks against it",
}
DEGREES: Final[Mapping[Degree, str]] = {
    "proved": "proved by the packets",
    "fits": "fits our emulation",
    "confirmed": "confirmed by the firewall's own log",
}


def path_of(record: Flow | Mail) -> Path:
    """Between whom it went."""
    return record.client.rpartition(":")[0].strip("[]"), record.server.rpartition(":")[0].strip("[]")


class Break(NamedTuple):
    """How the flow of a mail ended. `packet`: the one that ended it (of a drop: the first that was not answered).

    `at`: the client's stream offset from which on nothing got through; None where none was lost. `signs` tell why
    `by` says whom it says: where what is sent again gets no answer the likeliest, a middlebox, and what looks the same.
    """

    kind: BreakKind = "none"
    by: By = "unknown"
    packet: int | None = None
    at: int | None = None
    signs: tuple[Sign, ...] = ()


class Moment(NamedTuple):
    """A phase of the dialogue: capture time in ns when it began and ended, the packets of that."""

    phase: str
    begin_ns: int
    end_ns: int
    packet: int
    told: str  # the command and its reply, in short


class Vantage(NamedTuple):
    """Where the capture was taken, and whether somebody said so. `point`: of several captures the one that counts."""

    where: Where = "unknown"
    told: bool = False
    signs: tuple[Sign, ...] = ()
    point: str = ""


class Observed(NamedTuple):
    """What the packets show of a mail. `outcome`, `phase`, `stage`, `confidence` are words of the records.

    `accepted` of `recipients` were taken; `reply` decided it ("" for none). `octets_acknowledged` counts octets of
    the client's stream from its ISN + 1, `text_acknowledged` those of the mail's text among them (None: no text).
    `silence` is in seconds. `by_log`: how it ended, and how long the silence was, a mail server's log tells, not the
    capture, which ends before.
    """

    outcome: str = "unknown"
    accepted: int = 0
    recipients: int = 0
    reply: str = ""
    phase: str | None = None
    stage: str | None = None
    broken: Break = Break()
    octets_acknowledged: int = 0
    text_acknowledged: int | None = None
    silence: float = 0.0
    timeline: tuple[Moment, ...] = ()
    vantage: Vantage = Vantage()
    confidence: tuple[str, ...] = ()
    by_log: bool = False


class Fingerprint(NamedTuple):
    """A sign of a product on a path. `profiles`: the generations that do this, empty: all, or not known."""

    product: str  # mailguard, stormshield, sonicwall; "" for some box
    what: str  # banner-starred, verb-xed, keyword-xed, ok-to-nonsense, starttls-removed, answer-552, ttl-step, ...
    text: str
    profiles: tuple[str, ...] = ()
    signs: tuple[Sign, ...] = ()


class Difference(NamedTuple):
    """Octets, or a packet without any, that are not the same at two points of a path; `between`: the sender's first.

    `at`: the stream offset of its sender, `direction` whose octets they are. Dropped: they never arrived; withheld:
    what follows arrived without them, or somebody acknowledged them; injected: their sender never sent them; lost:
    packets of which a later copy arrived. `what`: octets, SYN, FIN, RST, or the whole connection. `before` and `after`
    are as much of them as is kept, `near` and `far` the packets at both points. Of dropped octets, `first` is how many
    the first segment had, and `times` how often it was sent. `here`: what it happened in, where one capture holds both
    points; then `ns` is when its first packet was seen, and its last.
    """

    kind: Literal["rewritten", "withheld", "dropped", "injected", "lost"]
    between: tuple[str, str]
    direction: Literal["client", "server"]
    at: int
    length: int = 0
    before: bytes = b""
    after: bytes = b""
    near: tuple[int, ...] = ()
    far: tuple[int, ...] = ()
    what: Literal["octets", "SYN", "FIN", "RST", "connection"] = "octets"
    first: int = 0
    times: int = 0
    here: str = ""
    ns: tuple[int, int] = (0, 0)


class Elsewhere(NamedTuple):
    """A connection at another point of its path, with the stream offsets and the clock of the first one. `until_ns`:
    when that capture ends."""

    account: Account
    until_ns: int


class Remedy(NamedTuple):
    """Something to do. `where`: at the sender or on the firewall; ordered from the smallest to the whole inspection."""

    where: Literal["sender", "receiver", "firewall", "network"]
    title: str
    commands: tuple[str, ...] = ()
    loses: str = ""
    check: str = ""
    undo: str = ""


class Cause(NamedTuple):
    """Why it broke, perhaps. `cause`: a rule's full id, a look-alike's name, or `unknown-filter`.

    Causes of the same `rank` share a place (0 is the first).
    """

    cause: str
    kind: CauseKind
    confidence: Confidence
    title: str
    evidence: tuple[Sign, ...] = ()
    remedies: tuple[Remedy, ...] = ()
    degree: Degree = "fits"
    rank: int = 0
    alert: Alert | None = None  # of a rule: what would have fired
    inspector: str = ""  # of a rule: the spec under which it fires
    product: str = ""
    unseen: str = ""  # of a rule whose deciding octets no capture shows: what they would be part of ("headers")
    bare: bool = False  # of a look-alike: that nothing came back any more is all that tells of it


class Against(NamedTuple):
    """A cause that is out, and why: by packets (ruled out), or by mails that were accepted (refuted)."""

    cause: str
    kind: Literal["ruled-out", "refuted"]
    text: str
    signs: tuple[Sign, ...] = ()


class Contrast(NamedTuple):
    """A property of mails crossed with what became of them, on this path and elsewhere."""

    property: str  # raw 8-bit Subject
    cut: int
    accepted: int
    cut_without: int
    accepted_without: int
    cut_elsewhere: int = 0
    accepted_elsewhere: int = 0


# Why it is not told that a mail goes through with rules off: nobody saw what tripped them; they alter the dialogue,
# and nobody knows where the other one leads; the server answers nobody any more.
Doubt = Literal["", "unseen", "altered", "unanswered"]


class WhatIf(NamedTuple):
    """What would let this mail pass: rules to relax on the firewall, or a change at the sender.

    `passes`: with them off, `spec`, nothing of what was seen would be cut or refused. `assumes`: where it was this rule
    at all, which nothing but the break tells.
    """

    relax: tuple[str, ...] = ()
    passes: bool = False
    changes: tuple[Remedy, ...] = ()
    doubt: Doubt = ""
    spec: str = ""
    assumes: bool = False


class Sweep(NamedTuple):
    """Mails that each value of a limit cuts, over a whole capture. `key`: INSPECTOR[:PROFILE].KNOB."""

    key: str
    rows: tuple[tuple[str, int, int], ...]  # value, mails cut, mails in all


@dataclass(slots=True)
class Case:
    """A mail, or a connection without one, and what was found out about it."""

    flow: Flow
    mail: Mail | None
    alerts: tuple[Alert, ...] = ()  # of emulated rules: its own, and the earlier ones of its connection
    account: Account | None = None  # of its connection; None where nobody looks closer, or there are no packets
    script: Script | None = None  # its connection's dialogue
    transaction: Transaction | None = None  # its part of that
    observed: Observed = Observed()
    fingerprints: tuple[Fingerprint, ...] = ()
    differences: tuple[Difference, ...] = ()  # between points of its path
    elsewhere: Mapping[str, Elsewhere] = field(default_factory=dict)  # by point: those behind the first, in path order
    other: Flow | None = None  # the same connection in this capture, behind a machine that gives it other addresses
    proved: tuple[Sign, ...] = ()  # what these prove, in words
    logged: tuple[Sign, ...] = ()  # what the firewall's own log says of its connection
    causes: list[Cause] = field(default_factory=list)
    against: list[Against] = field(default_factory=list)
    contrast: list[Contrast] = field(default_factory=list)
    what_if: WhatIf = WhatIf()
    questions: tuple[str, ...] = ()  # what to ask whom, ready to send
    log_lines: tuple[Reading, ...] = ()  # lines of a mail server's log that are about this mail
    specs: Mapping[str, str | Inspector] = field(default_factory=dict)  # what an alert's inspector stands for

    @property
    def path(self) -> Path:
        return path_of(self.flow)

    @property
    def trace(self) -> Trace | None:
        """The packets of its connection."""
        return self.account.trace if self.account is not None else None

    @property
    def reply_lost(self) -> bool:
        """Do the points of its path show that octets of the server were lost, and none of the client? Then what the
        client said had arrived, though nobody acknowledged it where its reply did not come."""
        gone = (one for one in self.differences if one.kind in ("dropped", "withheld"))
        lost = [one for one in gone if one.what not in ("FIN", "RST")]
        said = any(one.direction == "server" and one.what == "octets" for one in lost)
        return said and not any(one.direction == "client" for one in lost)

    @property
    def kept_back(self) -> Difference | None:
        """Octets of the client, from where it broke on, that were acknowledged and never came to another point."""
        at = self.observed.broken.at
        kept = (one for one in self.differences if one.kind == "withheld" and one.direction == "client")
        return next((one for one in kept if at is not None and one.at <= at < one.at + one.length), None)

    @property
    def answer_lost(self) -> Difference | None:
        """Octets of the server that never came to the client, where none of the client's were lost: what it waited
        for, as the point has it where they left."""
        lost = (one for one in self.differences if one.kind in ("dropped", "withheld") and one.direction == "server")
        return next((one for one in lost if one.what == "octets"), None) if self.reply_lost else None

    @property
    def unlearnt(self) -> bool:
        """Does another point show that the server took the mail, by an answer that the client never got?"""
        lost, mail = self.answer_lost, self.transaction
        if lost is None or mail is None or self.observed.phase != "dotreply":
            return False
        there = self.elsewhere.get(lost.between[0])
        script = there.account.script if there is not None else None
        if script is None or len(script.mails) < mail.number:
            return not mail.chunks and lost.before[:1] == b"2"
        reply = script.mails[mail.number - 1].reply  # of several chunks the last one's
        return reply is not None and 200 <= (reply.code or 0) < 300 and reply.octets[: len(lost.before)] in lost.before

    @property
    def failed(self) -> bool:
        """Is there something to explain? Of what a client gave up only where a cause was found; of what the server
        took, where the client did not learn it."""
        outcome, broken = self.observed.outcome, self.observed.broken.kind
        if outcome == "accepted":
            return broken in ("drop", "rst", "fin") and self.observed.phase == "dotreply"
        return outcome not in ("encrypted", "aborted") or (outcome == "aborted" and bool(self.causes))


class Reading(NamedTuple):
    """What a line of a mail server's log, or a bounce, tells. `phases`: the narrowest interval that the text proves.

    `mta` is a name that `--mta` takes; `broken` holds every BreakKind that remains possible, () where the text does
    not tell. `when` is in seconds since 1970, `seconds` how long the attempt took. `octets`: of the text that the
    sender's kernel, or the receiver, had taken; `size`: of the mail in the queue. `scope`: who else waits with it.
    `tries`: seconds after the first attempt at which that MTA's defaults try again, up to `gives_up_after`.
    """

    line: str
    mta: str = ""
    phases: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()
    stage: str | None = None
    seconds: float | None = None
    fate: str = ""  # deferred, bounced, delivered; a line of no delivery: received, or none
    host: str = ""
    ip: str = ""
    recipient: str = ""
    queue_id: str = ""
    octets: int | None = None
    when: float | None = None
    side: Literal["sender", "receiver"] = "sender"
    text: str = ""  # the phrase that told
    means: str = ""
    cannot_tell: tuple[str, ...] = ()
    ask: tuple[str, ...] = ()
    causes: tuple[Cause, ...] = ()
    sender: str = ""
    message_id: str = ""
    size: int | None = None
    reply: str = ""
    scope: str = ""  # message, host, address
    duplicate_risk: bool = False
    gave_up: bool = False  # the mail had grown too old
    waiting: bool = False  # no attempt: the host's time had not come
    masked: bool = False  # a greeting of asterisks, or XXXX, is told of
    tries: tuple[int, ...] = ()
    gives_up_after: int | None = None
    commands: tuple[str, ...] = ()  # to capture, and to send it again
    local: bool = False  # `when` is by the log's own clock, whose zone is not told
    bounce: bool = False  # a message that came back tells it, no log
    usual: tuple[str, ...] = ()  # of `phases` those that fit the seconds at default settings; () where that is all
    assumes: tuple[str, ...] = ()  # the settings that `usual` takes to be the defaults

    @property
    def break_kind(self) -> str | None:
        """The one kind that remains, or None."""
        return self.broken[0] if len(self.broken) == 1 else None

    @property
    def failed(self) -> bool:
        """Is there something to explain?"""
        return self.fate not in ("delivered", "received", "none")

    @property
    def unplaced(self) -> bool:
        """Has an attempt failed by a text that is not known, so that nothing tells where?"""
        lasting = self.waiting or self.gave_up or self.side == "receiver"
        return self.fate in ("deferred", "bounced") and not self.phases and not lasting


@dataclass(slots=True)
class Diagnosis:
    """All that `diagnose` found."""

    cases: list[Case] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)
    sweep: Sweep | None = None
    notes: list[str] = field(default_factory=list)  # what could not be read, what was left out
    unmatched: list[str] = field(default_factory=list)  # files that hold nothing about the connections of the capture
    left_out: tuple[int, int] = (0, 0)  # more accepted mails, and more other cases, than are kept
    stopped: bool = False  # by Ctrl-C; what was read is told
