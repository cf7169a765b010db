"""Exchange Server as a sender: the queue's LastError and the line that the send protocol log ends with."""

from __future__ import annotations

from typing import Final

from smtpinspect.actions import CONFIRMED, INFERRED
from smtpinspect.mta import retry
from smtpinspect.mta.base import (
    DAY,
    HANDSHAKE,
    HOUR,
    MINUTE,
    Ending,
    Judgement,
    Next,
    Row,
    Scope,
    Sender,
    Step,
    Timer,
    bench,
    phrase,
)
from smtpinspect.mta.words import iso, masked, masks, one_line

_CONNECTOR: Final = "Microsoft: Set-SendConnector ConnectionInactivityTimeOut"
_KB: Final = "Microsoft KB 979175"
_PAGES: Final = "Microsoft: Configure message retry"
_WRAPPED: Final = (
    '451 4.4.0 Primary target IP address responded with: "{inner}" Attempted failover to alternate host, but that did '
    "not succeed. Either there are no alternate hosts, or delivery failed to all alternate hosts. The last endpoint "
    "attempted was {ip}:{port}"
)
_CLOSED: Final[dict[str, str]] = {
    "timeout": "Local",
    "closed": "Remote",
    "reset": "Remote(ConnectionReset)",
    "refused": "Remote(SocketError)",
}
_MASKS: Final = masks(
    (r"^\d{4}-\d\d-\d\dT[\d:.]+Z,", ""),
    (r"^[^,]*,[0-9A-F]{16},\d+,[^,]*,[^,]*,", ""),
    (r"(?<=attempted was )\S+", "<host>"),
)


class Exchange(Sender):
    """No phase is ever told; the protocol log's last commands do."""

    name = "exchange"
    title = "Exchange Server 2019"
    example = bench("exout.example.com")
    pipelines = ("mail", "rcpt")
    gives_up_after = 2 * DAY
    timers = (
        # Windows: two retransmissions of a SYN, 3, 6 and 12 s
        Timer(("connect",), "", 21, "", INFERRED, "Windows TcpMaxConnectRetransmissions"),
        Timer(
            ("greeting", "ehlo", "helo", "starttls", "auth", "mail", "rcpt", "datacmd", "body", "dot", "rset", "quit"),
            "ConnectionInactivityTimeOut",
            600,
            "command",
            CONFIRMED,
            _CONNECTOR,
        ),
    )
    phrases = (  # the inner text
        Row(("connect",), (), "421 4.2.1 Unable to connect", CONFIRMED, _KB),
        Row((), ("timeout",), "421 4.4.2 Connection dropped due to TimedOut", INFERRED, _KB),
        Row((), ("reset",), "421 4.4.2 Connection dropped due to ConnectionReset", INFERRED, _KB),
        Row((), ("closed",), "421 4.4.2 Connection dropped due to SocketError", INFERRED, _KB),
        Row(("starttls",), ("lacking",), "450 4.4.317 Cannot establish session", INFERRED, _KB),
        Row(("auth",), ("lacking",), "451 5.7.3 Cannot achieve Exchange Server authentication", CONFIRMED, _KB),
        Row((), ("malformed",), "421 4.4.0 Remote server response was not RFC conformant", CONFIRMED, _KB),
        Row((), ("reply", "sent"), "{reply}", CONFIRMED, _KB),
    )

    def next_after(self, step: Step, reply: str) -> Next:
        kind = reply[:1]
        if kind in ("2", "3"):
            return "continue"
        if step == "ehlo" and kind == "5":
            return "helo"
        if step in ("rcpt", "rset", "quit"):
            return "skip" if step == "rcpt" else "continue"
        return "bounce" if kind == "5" and step not in HANDSHAKE else "defer"

    def log(self, ending: Ending) -> list[str]:
        mail, fate = ending.envelope, self.fate(ending)
        moment = f"{iso(ending.ended).replace(' ', 'T')}.000Z"
        session = f"{moment},Outbound,08DE29F4C1A7B355,9,{mail.source}:49152,{mail.ip}:{mail.port},"
        if ending.cause in ("reply", "sent"):
            said = f"{session}<,{one_line(ending.reply, ' ')},"
            left = [f"{session}>,QUIT,", f"{session}-,,Local"]
        else:
            said, left = "", [f"{session}-,,{_CLOSED.get(ending.cause, 'Local')}"]
        lines = [said, *left] if said else left
        if ending.step == "connect":
            lines = []  # no session, no line
        if fate.fate == "deferred":
            return [f"LastError: {self.text(ending)}", *lines]
        return lines

    def text(self, ending: Ending) -> str:
        """LastError: the wrapped text of what went wrong."""
        inner = phrase(self.phrases, ending).format(reply=one_line(ending.reply, " "))
        mail = ending.envelope
        return _WRAPPED.format(inner=inner, ip=mail.ip, port=mail.port)

    def fate(self, ending: Ending) -> Judgement:
        step, cause = ending.step, ending.cause
        if cause == "sent":
            return Judgement("delivered", "message", False, False)
        if cause == "reply" and step not in HANDSHAKE:
            scope: Scope = "address" if step == "rcpt" else "message"
            return Judgement("deferred" if ending.temporary else "bounced", scope, False, False)
        return Judgement("deferred", "host", step == "dot", True)

    def attempts(self, seconds: float = 0.0) -> list[int]:
        # QueueGlitchRetryCount 4 x 1 min, TransientFailureRetryCount 6 x 5 min, then every 10 min
        return retry.steps(((4, MINUTE), (6, 5 * MINUTE)), 10 * MINUTE, self.gives_up_after, seconds)

    def final_log(self, ending: Ending) -> list[str]:
        return [f"NDR after {self.gives_up_after // HOUR} h: 550 4.4.7 QUEUE.Expired; message expired"]

    def mask(self, line: str) -> str:
        return masked(_MASKS, line)
