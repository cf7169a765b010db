"""What mails are told apart by, when those that were cut are compared with those that were accepted.

The core measures: rows of an inspector that only tells, beside what a mail's record holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from smtpinspect._core.views import Alert, Mail
from smtpinspect.actions import ALARM, PROJECT
from smtpinspect.facts import COMMAND, END_OF_DATA, FIELD, KEYWORD, LINE, PATH, Octets, Pattern, flags, gt, in_, ne
from smtpinspect.inspectors.base import Inspector, Rule, Settings

NAME: Final = "properties"
_FIRST: Final = 2000900
_ODD: Final = int(
    Octets.CONTROL | Octets.BARE_CR | Octets.BARE_LF | Octets.BAD_NAME | Octets.NO_COLON | Octets.NUL
)
_ODD_PATH: Final = int(Octets.EIGHT_BIT | Octets.CONTROL | Octets.PIPE | Octets.ANGLE | Octets.BACKQUOTE)

# By word: what a page says, and when it is so.
SEEN: Final[Mapping[str, tuple[str, Pattern]]] = {
    "subject-8bit": ("raw 8-bit Subject", FIELD(level=0, name=b"Subject", octets=flags(Octets.EIGHT_BIT))),
    "header-8bit": ("raw 8-bit header field", FIELD(level=0, octets=flags(Octets.EIGHT_BIT))),
    "header-no-utf8": ("8-bit header field that is no UTF-8", FIELD(level=0, octets=flags(int(Octets.BAD_UTF8)))),
    "header-odd": ("malformed header field", FIELD(level=0, octets=flags(_ODD))),
    **{
        f"header-{limit}": (f"header line above {limit:,} bytes", LINE(where="header", length=gt(limit)))
        for limit in (256, 512, 998, 2048, 4096, 8192)
    },
    **{
        f"body-{limit}": (f"text line above {limit:,} bytes", LINE(where="body", length=gt(limit)))
        for limit in (512, 998, 2048, 4096)
    },
    "command-512": ("command line above 512 bytes", LINE(where="command", length=gt(512))),
    "path-odd": ("address with 8-bit bytes, pipe or stray brackets", PATH(octets=flags(_ODD_PATH))),
    "pipelined": ("pipelined commands", COMMAND(verb=in_(b"RCPT", b"DATA"), outstanding=gt(0))),
    "bdat": ("BDAT", COMMAND(verb=b"BDAT")),
    "helo": ("HELO", COMMAND(verb=b"HELO")),
    "auth": ("AUTH", COMMAND(verb=b"AUTH")),
    "starttls": ("STARTTLS offered", KEYWORD(name=b"STARTTLS")),
    "end-cut": ("end of data parted between segments", END_OF_DATA(cuts=ne(0))),
}  # fmt: skip
SIZES: Final = (1_400, 10_000, 100_000, 1_000_000, 10_000_000)  # the first fills a segment
RECIPIENTS: Final = (1, 10, 50, 100)
ATTACHED: Final[Mapping[str, str]] = {
    **dict.fromkeys(("zip", "7z", "rar", "gz", "tgz", "bz2", "xz", "iso", "cab", "arj"), "archive attached"),
    **dict.fromkeys(("exe", "dll", "scr", "com", "bat", "cmd", "js", "vbs", "msi", "jar", "ps1"), "program attached"),
    **dict.fromkeys(("doc", "docm", "xls", "xlsm", "ppt", "pptm", "dotm", "rtf"), "Office 97 or macro file attached"),
    **dict.fromkeys(("docx", "xlsx", "pptx", "odt", "ods"), "Office file attached"),
    "pdf": "PDF attached",
}  # fmt: skip


class Properties(Inspector):
    """A row for each of SEEN; alarms only."""

    name = NAME
    title = "Properties of mails"

    def rules(self, settings: Settings) -> Iterator[Rule]:
        for number, (word, (told, when)) in enumerate(SEEN.items()):
            yield Rule(f"{NAME}.{word}", when, ALARM, PROJECT, "", _FIRST + number, told, kind="seen")


def properties_of(mail: Mail, alerts: Iterable[Alert]) -> frozenset[str]:
    """The words for people. `alerts`: those of Properties that count for it."""
    made = {SEEN[alert.rule.partition(".")[2]][0] for alert in alerts}
    made |= {f"text above {size:,} bytes" for size in SIZES if mail.octets > size}
    made |= {f"more than {count:,} recipient{'s' * (count > 1)}" for count in RECIPIENTS if len(mail.rcpt_to) > count}
    for name in mail.attachments:
        made.add("attachment")
        kind = ATTACHED.get(name.rpartition(".")[2].lower())
        made |= {kind} if kind else set()
    return frozenset(made)


class Property(NamedTuple):
    """Something of a mail by which outcomes are told apart. `name` stands behind `mails`."""

    name: str
    has: Callable[[Mail], bool]


def _eight_bit(mail: Mail) -> bool:
    return mail.subject is not None and not mail.subject.isascii()


# By which two captures are compared: what a record tells without an inspector, in wide classes.
COMPARED: Final = (
    Property("with a raw 8-bit Subject", _eight_bit),
    Property("with an attachment", lambda mail: bool(mail.attachments)),
    Property("of more than 65,536 bytes", lambda mail: mail.octets > 65_536),
    Property(f"of at most {SIZES[0]:,} bytes", lambda mail: mail.octets <= SIZES[0]),
    Property("to several recipients", lambda mail: len(mail.rcpt_to) > 1),
    Property("sent by BDAT", lambda mail: mail.bdat),
    Property("that are bounces (MAIL FROM:<>)", lambda mail: mail.mail_from == ""),
)
