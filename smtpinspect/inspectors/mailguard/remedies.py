"""What to type on the firewall, by product generation. Text only: nothing is ever sent to a device."""

from __future__ import annotations

from typing import Final

from smtpinspect.actions import CONFIRMED, INFERRED
from smtpinspect.inspectors.explain import Remedy

_PIX: Final = ("pix-4.4", "pix-5", "pix-6")
_ASA: Final = ("asa-7.0", "asa-8", "asa-9-tls")
_TELNET: Final = "telnet SERVER 25 from outside: the greeting can be read, EHLO lists all"
_ALL_CHECKS: Final = "all checks of SMTP on this port; the mail server's own remain"
_WRITE: Final = "between `configure terminal` and `write memory`"
_IN: Final = ("configure terminal",)
_XLATE: Final = "open connections keep the old state until clear xlate, or a reload"
_CONN: Final = "no reload; open connections keep the old policy (ASA: until clear conn port 25)"
_NO_INSPECT: Final = ("policy-map global_policy", " class inspection_default", "  no inspect esmtp", "end")
_NAMES: Final = "fixup is no command here; the policy map may have another name (show service-policy)"

MAILHOST: Final = Remedy(
    "a plain translation in place of mailhost",
    (
        "no mailhost 111.222.111.1 10.2.1.1",
        "static 111.222.111.1 10.2.1.1",
        "conduit 111.222.111.1 25 tcp 0.0.0.0 0.0.0.0",
    ),
    around=_WRITE,
    before=_IN,
    profiles=("pix-4.0",),
    loses=_ALL_CHECKS,
    check=_TELNET,
    undo="no static, no conduit, then mailhost again",
    activation=_XLATE,
    source="Cisco doc 4733",
)
FIXUP: Final = Remedy(
    "no fixup, with the port",
    ("no fixup protocol smtp 25",),
    menu="always name the port: without it the line removes all assignments and puts port 25 back; "
    "one line for every port in use (write terminal shows them)",
    around=_WRITE,
    before=_IN,
    profiles=_PIX,
    loses=_ALL_CHECKS,
    check=_TELNET,
    undo="fixup protocol smtp 25",
    activation=_XLATE,
    source="Cisco doc 4733; Cisco academy text",
)
FWSM: Final = Remedy(
    "no inspect in the policy",
    (*_NO_INSPECT[:2], "  no inspect smtp", *_NO_INSPECT[2:]),
    menu="of inspect smtp and inspect esmtp in one policy only the first acts: remove both",
    around=_WRITE,
    before=_IN,
    profiles=("fwsm-3",),
    loses=_ALL_CHECKS,
    check=_TELNET,
    undo="inspect esmtp in the same class",
    activation=_CONN,
    source="FWSM guide",
)
OFF: Final = Remedy(
    "no inspection at all",
    _NO_INSPECT,
    menu=_NAMES,
    around=_WRITE,
    before=_IN,
    profiles=_ASA,
    loses=_ALL_CHECKS,
    check=_TELNET,
    undo="inspect esmtp in the same class",
    activation=_CONN,
    source="ASA field report; Cisco doc 117801",
)
# Behind OFF.
FWSM_TOO: Final = FWSM._replace(
    title="no inspection, on FWSM",
    commands=(),
    before=(*_IN, *FWSM.commands),
    menu="as on an ASA, with `no inspect smtp` as well; of the two in one policy only the first acts",
)
_BIND: Final = (*_NO_INSPECT[:3], "  inspect esmtp {name}", "end")


def _map(title: str, name: str, lines: tuple[str, ...], menu: str, loses: str) -> Remedy:
    return Remedy(
        title,
        (
            f"policy-map type inspect esmtp {name}",
            *lines,
            *(line.format(name=name) for line in _BIND),
        ),
        menu=menu,
        around=_WRITE,
        before=_IN,
        profiles=_ASA,
        loses=loses,
        check=f"show service-policy: Inspect: esmtp {name}",
        undo="no inspect esmtp, then inspect esmtp without a name",
        activation=_CONN,
        basis=INFERRED,
        source="Cisco CSM guide 4.4; Cisco CLI guide 9.x",
    )


_OWN_MAP: Final = (
    "the limits of the default map: a map of your own holds only what you write into it"
)
BANNER: Final = _map(
    "show the greeting",
    "ESMTP_BANNER",
    (" parameters", "  no mask-banner"),
    "what a map without the parameter does is not documented: print it",
    _OWN_MAP,
)
TLS: Final = _map(
    "let TLS through",
    "ESMTP_TLS",
    (" parameters", "  allow-tls", "  no mask-banner"),
    "an upgrade to 9.4 keeps an existing no allow-tls",
    "sight of everything behind STARTTLS; " + _OWN_MAP,
)
KEYWORDS: Final = _map(
    "a map without `match ehlo-reply-parameter others`",
    "ESMTP_KEYWORDS",
    (" parameters", "  no mask-banner"),
    "STARTTLS needs allow-tls besides",
    _OWN_MAP,
)
DELETE_LINE: Final = Remedy(
    "delete the line in the map",
    ("policy-map type inspect esmtp NAME", " parameters", "  no {line}", "end"),
    around=_WRITE,
    before=_IN,
    profiles=_ASA,
    loses="this check",
    check="show running-config policy-map type inspect esmtp",
    undo="the line again",
    activation=_CONN,
    basis=INFERRED,
    source="Cisco CLI guide 9.x",
)
EXEMPT: Final = Remedy(
    "leave one host out",
    (
        "access-list ESMTP_SCOPE extended deny tcp host PEER any eq smtp",
        "access-list ESMTP_SCOPE extended permit tcp any any eq smtp",
        "class-map ESMTP_CLASS",
        " match access-list ESMTP_SCOPE",
        "policy-map global_policy",
        " class inspection_default",
        "  no inspect esmtp",
        " class ESMTP_CLASS",
        "  inspect esmtp",
        "end",
    ),
    around=_WRITE,
    before=_IN,
    profiles=_ASA,
    loses="the checks for PEER",
    check="show service-policy, a mail from PEER",
    undo="no class ESMTP_CLASS, then inspect esmtp in class inspection_default",
    activation=_CONN,
    basis=INFERRED,
    source="Cisco doc 117801",
)
FTD: Final = Remedy(
    "FTD",
    ("configure inspection esmtp disable",),
    menu="or FlexConfig Default_Inspection_Protocol_Disable with esmtp in its list",
    profiles=("asa-9-tls",),
    loses=_ALL_CHECKS,
    check=_TELNET,
    undo="configure inspection esmtp enable",
    basis=INFERRED,
    source="project",
)
UPGRADE_PIX: Final = Remedy(
    "a release without the fault",
    menu="the numbers of the corrected releases are not in our sources; every 6.x after 6.0(1) fits our emulation",
    profiles=("pix-4.4", "pix-5"),
    loses="nothing",
    check="show version; the next mail like it arrives",
    undo="the old release",
    basis=INFERRED,
    source="CVE-2000-1022; CSCds90792",
)
UPGRADE_ASA: Final = Remedy(
    "a release without the fault",
    menu="7.2(2.19), 8.0(2.7) or later",
    profiles=("asa-7.0",),
    loses="nothing",
    check="show version; the next mail like it arrives",
    undo="the old release",
    basis=CONFIRMED,
    source="iX/heise; Cisco doc 118550",
)


def _limit(line: str, name: str) -> Remedy:
    return _map(
        "raise the limit",
        name,
        (" parameters", "  mask-banner", f" match {line}", "  drop-connection log"),
        "every other match line that you want to keep belongs in it, too. Try it here first: "
        f"-i 'mailguard:asa-8,match={line} -> drop-connection log'",
        _OWN_MAP,
    )


_LIMITS: Final = {
    "mailguard.cmd-line-length": _limit("cmd line length gt 4096", "ESMTP_COMMANDS"),
    "mailguard.rcpt-count": _limit("cmd RCPT count gt 1000", "ESMTP_RCPT"),
    "mailguard.body-line-length": _limit("body line length gt 4096", "ESMTP_BODY"),
    "mailguard.header-line-length": _limit("header line length gt 4096", "ESMTP_HEADER"),
    "mailguard.sender-length": _limit("sender-address length gt 1000", "ESMTP_SENDER"),
    "mailguard.mime-filename-length": _limit("mime filename length gt 1000", "ESMTP_NAMES"),
}
_EVERYWHERE: Final = (MAILHOST, FIXUP, OFF, FWSM_TOO, EXEMPT, FTD)


def _delete(line: str) -> Remedy:
    return DELETE_LINE._replace(commands=tuple(command.format(line=line) for command in DELETE_LINE.commands))


def _without(line: str) -> Remedy:
    commands = tuple(
        command.format(line=f"match {line}").replace("  no", " no")
        for command in DELETE_LINE.commands
        if command != " parameters"
    )
    menu = "show running-config policy-map type inspect esmtp prints the line as it must be typed behind `no`"
    return DELETE_LINE._replace(commands=commands, menu=menu)


_MATCHES: Final = {
    "mailguard.body-length": "body length gt N",
    "mailguard.header-length": "header length gt N",
    "mailguard.to-fields-count": "header to-fields count gt N",
    "mailguard.invalid-recipients": "invalid-recipients count gt N",
    "mailguard.mime-filetype": "mime filetype regex NAME",
    "mailguard.mime-encoding": "mime encoding WORD",
    "mailguard.sender-regex": "sender-address regex NAME",
    "mailguard.cmd-verb": "cmd verb VERB",
    "mailguard.rate-limit": "CRITERION",
}
_BY_RULE: Final[dict[str, tuple[Remedy, ...]]] = {
    "mailguard.banner-masked": (FIXUP, FWSM, BANNER, FTD),
    "mailguard.banner-multiline-broken": (FIXUP,),
    "mailguard.starttls-blocked": (MAILHOST, FIXUP, FWSM, TLS, FTD),
    "mailguard.ehlo-param-masked": (FWSM, KEYWORDS, OFF, FTD),
    "mailguard.tls-started": (),
    "mailguard.special-character": (_delete("special-character"),),
    "mailguard.mail-relay": (_delete("mail-relay DOMAIN action drop-connection"),),
    "mailguard.size-violation": (OFF, FTD),
    "mailguard.eod-split": (UPGRADE_PIX, FIXUP),
    "mailguard.bypass-early-data": (UPGRADE_PIX, FIXUP),
    "mailguard.dkim-content-type": (UPGRADE_ASA, OFF),
    "mailguard.postfix-workaround-seen": (FIXUP, FWSM, BANNER, FTD),
    "mailguard.address-malicious": (OFF, FTD),
    **{rule: (remedy, OFF, FTD) for rule, remedy in _LIMITS.items()},
    **{rule: (_without(line), OFF, FTD) for rule, line in _MATCHES.items()},
}


def remedies(rule: str, own: str = "") -> tuple[Remedy, ...]:
    """The remedies of a rule (full id), in the order of the product generations.

    `own` is the criterion in the user's own policy map: a new map in its place would lose the other lines.
    """
    found = _BY_RULE.get(rule, _EVERYWHERE)
    return (_without(own), *found[1:]) if own and rule in _LIMITS else found
