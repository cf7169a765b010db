"""Where to click and what to send on a SonicWall. Text only: nothing is ever sent to a device."""

from __future__ import annotations

import json
from typing import Any, Final

from smtpinspect.actions import CONFIRMED, INFERRED
from smtpinspect.inspectors.explain import Remedy

_BASE: Final = "/api/sonicos/gateway-antivirus/base"
_AROUND: Final = (
    "menus: below Security Services > Gateway Anti-Virus (SonicOS 7 in policy mode: Object > Action Profiles > "
    f"Anti-Virus). REST API of 7: PUT {_BASE} with the body, then POST /api/sonicos/config/pending"
)
_BEFORE: Final = (f"# SonicOS 7, REST API: PUT {_BASE} with this body, then POST /api/sonicos/config/pending",)
_SHOW: Final = "GET of the same path; send the mail again, no new m=809 in the log"
_BACK: Final = "the old tick, or the old value in the same request"
_AT_ONCE: Final = "no reload; new connections"


def _put(settings: dict[str, Any]) -> tuple[str, ...]:
    """The body of the request that changes this and nothing else."""
    return (json.dumps({"gateway_antivirus": settings}),)


def _untick(title: str, label: str, where: str, settings: dict[str, Any], loses: str, undo: str) -> Remedy:
    return Remedy(
        title,
        _put(settings),
        menu=f"{where} > {label}",
        around=_AROUND,
        before=_BEFORE,
        loses=loses,
        check=_SHOW,
        undo=undo,
        activation=_AT_ONCE,
        basis=CONFIRMED,
        source="SonicOS 5.8 guide; SonicOS 7.1 guide; SonicOS 7 API; Altospam",
    )


def _restrict(switch: str, what: str, loses: str) -> Remedy:
    return _untick(
        "this restriction, for SMTP",
        f"untick `Restrict Transfer of {what}`",
        "SMTP Settings",
        {"restrict": {switch: {"smtp": False}}},
        loses,
        _BACK,
    )


_VIRUSES: Final = "viruses are still looked for"
_PACKED: Final = _restrict(
    "packed_executables",
    "packed executable files (UPX, FSG, etc.)",
    f"programs that hide in a packer pass; {_VIRUSES}",
)
_FIRST: Final[dict[str, Remedy]] = {
    "sonicwall.encrypted-zip": _restrict(
        "password_protected_zip",
        "password-protected ZIP files",
        "nobody on the way can scan what is in such a ZIP: who has the password must",
    ),
    "sonicwall.office-macro": _restrict(
        "ms_office_macros",
        "MS-Office type files containing macros (VBA 5 and above)",
        f"macros reach the mailbox, where the mail server or Office's policy must stop them; {_VIRUSES}",
    ),
    "sonicwall.packed-exe": _PACKED,
    "sonicwall.packed-exe-extended": _PACKED,
    "sonicwall.nested-archive": _untick(
        "this restriction",
        "untick `Block files with multiple levels of zip/gzip compression`",
        "Configure Gateway AV Settings",
        {"block_multiple_compress_files": False},
        "archives in archives pass, for every protocol; how deep the box then looks is not published",
        _BACK,
    ),
}
EXCLUDE: Final = Remedy(
    "this peer: exclusion object of SMTP",
    _put({"exclusion_object": {"smtp": {"name": "MAIL-PARTNER"}}}),
    menu="SMTP Settings > Exclusions > an address object of the peer",
    around=_AROUND,
    before=_BEFORE,
    loses="the whole anti-virus for mail from and to this address",
    check=_SHOW,
    undo=_BACK,
    activation=_AT_ONCE,
    basis=INFERRED,
    source="SonicOS 7 API",
)
ANSWERS: Final = Remedy(
    "if it has to stay: let the box say so",
    _put({"smtp_responses": True}),
    menu="Configure Gateway AV Settings > untick `Disable SMTP Responses`",
    around=_AROUND,
    before=_BEFORE,
    loses="nothing: the mail is still refused, but its sender learns it at once",
    check="the sender's log shows 552",
    undo=_BACK,
    activation=_AT_ONCE,
    basis=INFERRED,
    source="SonicOS 5.8 guide; SonicOS 7 API; GAV guide",
)
DETECT: Final = Remedy(
    "all of it, for a test: detection only",
    _put({"detection_only": True}),
    menu="the log goes on, nothing is stopped",
    around=_AROUND,
    before=_BEFORE,
    loses="every block, viruses included, for every protocol",
    check="the mail arrives, m=809 is in the log",
    undo=_BACK,
    activation=_AT_ONCE,
    basis=INFERRED,
    source="SonicOS 7 API",
)
INSPECTION: Final = Remedy(
    "the whole inspection of SMTP",
    _put({"inbound_inspection": {"smtp": False}}),
    menu="Inbound Inspection > untick SMTP (Outbound Inspection is a switch of its own)",
    around=_AROUND,
    before=_BEFORE,
    loses="gateway anti-virus for all mail",
    check=_SHOW,
    undo=_BACK,
    activation=_AT_ONCE,
    basis=CONFIRMED,
    source="SonicOS 5.8 guide; SonicOS 7.1 guide; SonicOS 7 API",
)


def remedies(rule: str) -> tuple[Remedy, ...]:
    """The remedies of a rule, what loses least first; a limit of this program has none."""
    if rule not in _FIRST:
        return ()
    return _FIRST[rule], EXCLUDE, ANSWERS, DETECT, INSPECTION
