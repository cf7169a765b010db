"""The four clients of the laboratory: how each is told its time-outs, and how its log tells that an attempt is over."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import exim
import opensmtpd
import postfix
import sendmail
from messages import Mail
from network import Host


class Deliver(Protocol):
    def __call__(
        self, host: Host, relay: str, mails: Sequence[Mail], settings: Mapping[str, str], *, user: str
    ) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Sender:
    """An MTA as client. `timeouts` tells which of its settings each time-out is; `over` is in its log at the end."""

    mta: str
    package: str
    hostname: str
    deliver: Deliver
    log: str  # a file in its root; "" for what the daemon says on standard output
    timeouts: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    unit: str = "s"
    # The lines of its log that tell of the attempt: not those of the queue, nor what it says of the connection when
    # the mail has long had its 250 and QUIT gets no reply.
    told: re.Pattern[str]
    sent: re.Pattern[str]  # what one of them holds when the mail has arrived
    over: re.Pattern[str] | None = None  # what ends the attempt; None: deliver() returns then
    closed: re.Pattern[str] | None = None  # the same, when it is QUIT that we wait for
    patience: float = 30  # longest seconds an attempt may take, its own time-outs beyond ours included

    def shortened(self, timeouts: Mapping[str, int]) -> dict[str, str]:
        """Its settings for these time-outs."""
        own = {setting: f"{timeouts[word]}{self.unit}" for setting, word in self.timeouts.items()}
        return dict(self.settings) | own

    def is_over(self, host: Host, phase: str) -> bool:
        file = self.log_file(host)
        over = self.closed if self.closed and phase == "quit" else self.over
        return over is None or (file.exists() and over.search(file.read_text(errors="replace")) is not None)

    def log_file(self, host: Host) -> Path:
        assert host.root is not None
        return host.root / self.log.lstrip("/") if self.log else host.output


def _by_exim(host: Host, relay: str, mails: Sequence[Mail], settings: Mapping[str, str], *, user: str) -> None:
    main = {"log_selector": "+outgoing_port +deliver_time"}
    exim.deliver(host, relay, mails, settings, user=user, main=main)


def _by_opensmtpd(host: Host, relay: str, mails: Sequence[Mail], settings: Mapping[str, str], *, user: str) -> None:
    opensmtpd.deliver(host, relay, mails, settings, user=user, tls=True)


SENDERS = {
    sender.mta: sender
    for sender in (
        Sender(
            mta="exim",
            package=exim.PACKAGE,
            hostname="out.example.com",
            deliver=_by_exim,
            log="/var/log/exim4/mainlog",
            timeouts={
                "connect_timeout": "connect",
                "command_timeout": "command",
                "data_timeout": "data",
                "final_timeout": "final",
            },
            told=re.compile(r"^\S+ \S+ \S+ (H=|==|\*\*|=>|->) ?"),
            sent=re.compile(r" => "),
        ),
        Sender(
            mta="postfix",
            package=postfix.PACKAGE,
            hostname="pout.example.com",
            deliver=postfix.deliver,
            log="/var/log/postfix.log",
            timeouts={
                "smtp_connect_timeout": "connect",
                "smtp_helo_timeout": "command",
                "smtp_mail_timeout": "command",
                "smtp_rcpt_timeout": "command",
                "smtp_data_init_timeout": "command",
                "smtp_data_xfer_timeout": "data",
                "smtp_data_done_timeout": "final",
                "smtp_rset_timeout": "command",
                "smtp_quit_timeout": "command",
            },
            settings={"smtp_skip_quit_response": "yes"},
            told=re.compile(r" postfix/smtp\[\d+\]: "),
            sent=re.compile(r" status=sent "),
            over=re.compile(r" status=\w+ "),
        ),
        Sender(
            mta="sendmail",
            package=sendmail.PACKAGE,
            hostname="sout.example.com",
            deliver=sendmail.deliver,
            log=sendmail.LOG,
            timeouts={
                "Timeout.connect": "connect",
                "Timeout.iconnect": "connect",
                "Timeout.aconnect": "connect",
                "Timeout.initial": "command",
                "Timeout.helo": "command",
                "Timeout.mail": "command",
                "Timeout.rcpt": "command",
                "Timeout.datainit": "command",
                "Timeout.datablock": "data",
                "Timeout.datafinal": "final",
                "Timeout.rset": "command",
                "Timeout.quit": "command",
                "Timeout.misc": "command",
            },
            told=re.compile(r"^(?!.*: (from=|NOQUEUE: ))"),
            sent=re.compile(r" stat=Sent "),
            patience=400,  # 300 s for a write that is stuck are built in
        ),
        Sender(
            mta="opensmtpd",
            package=opensmtpd.PACKAGE,
            hostname="osout.example.com",
            deliver=_by_opensmtpd,
            log="",
            told=re.compile(r"^(\S+ mta|smtp-out:) (?!Error on session )"),
            sent=re.compile(r' result="Ok" '),
            over=re.compile(r" result=|No valid route"),
            closed=re.compile(r" mta (error|disconnected) |Error on session "),
            patience=340,  # 300 s are built in
        ),
    )
}
