"""The four servers of the laboratory: their settings, their logs, and when a log says that a session is over."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import exim
import opensmtpd
import postfix
import sendmail
from network import Host


@dataclass(frozen=True, kw_only=True)
class Receiver:
    """An MTA as server. Its `timeouts` are settings that get the seconds of `--timeouts command`."""

    mta: str
    package: str
    serve: Callable[[Host, Mapping[str, str]], None]
    log: str  # a file in its root; "" for what the daemon says on standard output
    timeouts: tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    told: re.Pattern[str] = re.compile("")  # the lines of its log that tell of a session
    over: re.Pattern[str] | None = None  # the last of them, but for breaks that it does not log

    def shortened(self, seconds: int) -> dict[str, str]:
        """Its settings, with time-outs of so many seconds."""
        return dict(self.settings) | dict.fromkeys(self.timeouts, f"{seconds}s")

    def log_file(self, host: Host) -> Path:
        assert host.root is not None
        return host.root / self.log.lstrip("/") if self.log else host.output


# BDAT and TLS off: the phases are those of DATA.
RECEIVERS = {
    receiver.mta: receiver
    for receiver in (
        Receiver(
            mta="exim",
            package=exim.PACKAGE,
            serve=exim.serve,
            log="/var/log/exim4/mainlog",
            timeouts=("smtp_receive_timeout",),
            settings={"log_selector": "+smtp_connection +smtp_no_mail", "chunking_advertise_hosts": ""},
            told=re.compile(r"^(?!.*( daemon started| Spool file |(Start|End) queue run| => :blackhole:| Completed$))"),
            over=re.compile(r" timeout | lost| unexpected |closed by QUIT"),
        ),
        Receiver(
            mta="postfix",
            package=postfix.PACKAGE,
            serve=postfix.serve,
            log="/var/log/postfix.log",
            timeouts=("smtpd_timeout",),
            settings={"smtpd_discard_ehlo_keywords": "chunking, silent-discard"},
            told=re.compile(r" postfix/smtpd\[\d+\]: "),
            over=re.compile(r": disconnect from "),
        ),
        Receiver(
            mta="sendmail",
            package=sendmail.PACKAGE,
            serve=sendmail.serve,
            log=sendmail.LOG,
            timeouts=("Timeout.command", "Timeout.datablock"),
            settings={"Timeout.ident": "0"},
            told=re.compile(r" sendmail\[\d+\]: (?!NOQUEUE: |starting |alias |\S+ \d+ aliases|\w+: to=)"),
        ),
        Receiver(
            mta="opensmtpd",
            package=opensmtpd.PACKAGE,
            serve=opensmtpd.serve,
            log="",
            told=re.compile(r" smtp "),
            over=re.compile(r" smtp disconnected "),
        ),
    )
}
