"""What the octets show, whatever firewall is asked about: other end marks, text behind STARTTLS."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from smtpinspect.actions import ALARM, CONFIRMED
from smtpinspect.facts import END_OF_DATA, TLS, gt
from smtpinspect.inspectors.base import Inspector, Page, Remedy, Rule, Settings

SMUGGLING: Final = "CVE-2023-51764, CVE-2023-51765, CVE-2023-51766"
INJECTION: Final = "CVE-2011-0411"
SOURCES: Final = {
    "CVE-2023-51764, CVE-2023-51765, CVE-2023-51766": "SMTP smuggling: Postfix, Sendmail and Exim",
    "CVE-2011-0411": "STARTTLS command injection",
    "RFC 5321": "Simple Mail Transfer Protocol, 4.1.1.4: only CR LF . CR LF ends the text",
    "RFC 3207": "SMTP Service Extension for Secure SMTP over TLS, 4.2",
}

# END_OF_DATA.variant and the octets that some servers take, or took, for the end.
VARIANTS: Final = {
    2: ("lf-dot-lf", "LF . LF", "Postfix before 3.9 and Exim before 4.97.1 by default"),
    3: ("lf-dot-crlf", "LF . CR LF", "Postfix before 3.9 and Exim before 4.97.1 by default"),
    4: ("crlf-dot-lf", "CR LF . LF", "Postfix before 3.9 and Exim before 4.97.1 by default"),
    5: ("cr-dot-cr", "CR . CR", "no server that we know of by default; some inspection engines do"),
    6: ("cr-dot-lf", "CR . LF", "no server that we know of by default; some inspection engines do"),
    7: ("lf-dot-cr", "LF . CR", "no server that we know of by default; some inspection engines do"),
    8: ("cr-dot-crlf", "CR . CR LF", "no server that we know of by default; some inspection engines do"),
    9: ("crlf-dot-cr", "CR LF . CR", "no server that we know of by default; some inspection engines do"),
    10: ("crlf-nul-dot-crlf", "CR LF NUL . CR LF", "no server that we know of by default; some inspection "
                                                   "engines do"),
    11: ("crlf-dot-nul-crlf", "CR LF . NUL CR LF", "no server that we know of by default; some inspection "
                                                   "engines do"),
    12: ("crlf-dot-cr-crlf", "CR LF . CR CR LF", "no server that we know of by default; some inspection "
                                                 "engines do"),
    13: ("cr-crlf-dot-cr-crlf", "CR CR LF . CR CR LF", "no server that we know of by default; some "
                                                       "inspection engines do"),
}  # fmt: skip
_FIRST: Final = 2004000

PAGES: Final = {
    f"smtp.smuggling-{word}": Page(
        _FIRST + variant,
        f"{octets} in the text",
        f"{octets} stands in the text of a mail, which is not its end (RFC 5321 4.1.1.4)",
        "nothing: this is about the servers. A server that takes it for the end sees two mails. "
        f"Taken by: {takers}",
        "bodies with bare LF or CR from scripts; nearly always an attack when commands follow",
        (SMUGGLING, "RFC 5321"),
        told="one mail more than the other side knows of, where the server takes it for the end",
        certainty="confirmed for Postfix and Exim; for others read from their code or not known",
        sender_can="send CR LF only, and stuff dots",
    )
    for variant, (word, octets, takers) in VARIANTS.items()
} | {
    "smtp.starttls-injection": Page(
        _FIRST + 1,
        "octets behind STARTTLS",
        "the client sends more in clear text behind STARTTLS before the server has answered it",
        "nothing: this is about the servers. A server that does not empty its buffer runs these commands "
        "as if they "
        "had come over TLS",
        "none: a client waits for the reply (RFC 3207 4)",
        (INJECTION, "RFC 3207"),
        told="the injected command among those of the TLS session",
        certainty="confirmed",
    ),
}


class Smtp(Inspector):
    """Always on, alarm only, in no verdict."""

    name = "smtp"
    title = "SMTP itself"
    gid = 2004
    pages = PAGES
    sources = SOURCES
    short = ("smuggling-",)

    def rules(self, settings: Settings) -> Iterable[Rule]:
        """One row for each end mark that is none, and one for STARTTLS."""
        for variant, (word, octets, _) in VARIANTS.items():
            page = PAGES[f"smtp.smuggling-{word}"]
            yield Rule(
                f"smtp.smuggling-{word}",
                END_OF_DATA(variant=variant),
                ALARM,
                CONFIRMED,
                f"{SMUGGLING}; RFC 5321",
                page.signature_id,
                page.title,
                octets,
                kind="seen",
            )
        page = PAGES["smtp.starttls-injection"]
        yield Rule(
            "smtp.starttls-injection",
            TLS(how="starttls", behind=gt(0)),
            ALARM,
            CONFIRMED,
            f"{INJECTION}; RFC 3207",
            page.signature_id,
            page.title,
            kind="seen",
        )

    def remedies(self, rule: str) -> tuple[Remedy, ...]:
        """On the receiving server."""
        if rule == "smtp.starttls-injection":
            return (
                Remedy(
                    "on the server: a release that empties its buffer before TLS",
                    menu="Postfix 2.4.16, 2.5.12, 2.6.9, 2.7.3 or later",
                    loses="nothing",
                    check="postconf mail_version",
                    undo="the old release",
                    source=INJECTION,
                ),
            )
        return (
            Remedy(
                "on a Postfix server",
                ("postconf -e smtpd_forbid_bare_newline=normalize", "postfix reload"),
                loses="mail from clients that end the text with a bare LF",
                check="postconf smtpd_forbid_bare_newline",
                undo="postconf -X smtpd_forbid_bare_newline: the default of the release",
                activation="postfix reload",
                source=SMUGGLING,
            ),
            Remedy(
                "on an Exim server: 4.97.1 or later",
                loses="nothing",
                check="exim -bV",
                undo="the old release",
                source=SMUGGLING,
            ),
        )
