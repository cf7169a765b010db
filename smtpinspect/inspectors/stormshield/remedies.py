"""Where to click and what to type on a Stormshield firewall. Text only: nothing is ever sent to a device."""

from __future__ import annotations

from typing import Final

from smtpinspect.actions import CONFIRMED, INFERRED
from smtpinspect.inspectors.explain import Remedy
from smtpinspect.inspectors.stormshield.profiles import TOKENS

_UNDO: Final = "what stands behind `undo` is for the same commands"
_SHOW: Final = "CONFIG PROTOCOL SMTP PROFILE ALARM SHOW index=0 context=protocol extended=1"

FIREWALL_RULE: Final = Remedy(
    "this peer: inspection level Firewall in the filter rule",
    (
        "CONFIG FILTER RULE UPDATE index=POLICY type=filter position=N inspection=firewall",
        "CONFIG FILTER ACTIVATE",
    ),
    menu="Security policy > Filtering and NAT > the rule of the mail relay > Security inspection > Firewall "
    "(global policy first where SMC manages several firewalls)",
    around=_UNDO,
    loses="all content checks for what this rule admits (IDS in place of Firewall keeps the log)",
    check="send the mail again, l_alarm has no new line for this source",
    undo="inspection=ips",
    activation="no reload; open connections keep the old level",
    source="Altospam; SNS manual, filtering; SNS CLI",
)
PLUGIN_OFF: Final = Remedy(
    "the whole inspection of SMTP in this profile",
    ("CONFIG PROTOCOL SMTP PROFILE IPS CONFIG index=0 State=Off", "CONFIG PROTOCOL ACTIVATE"),
    menu="Application protection > Protocols > SMTP > the profile > IPS tab > Disable intrusion prevention",
    around=_UNDO,
    loses="all SMTP alarms for all traffic of this profile",
    check="CONFIG PROTOCOL SMTP PROFILE SHOW index=0",
    undo="State=On",
    activation="at once, no reload",
    source="SNS manual, SMTP IPS tab; SNS CLI",
)


def _pass(number: int, level: str) -> Remedy:
    return Remedy(
        "this alarm in this profile: Allow",
        (
            f"CONFIG PROTOCOL SMTP PROFILE ALARM UPDATE index=0 id={number} context=protocol"
            f" action=pass level={level}",
            "CONFIG PROTOCOL ACTIVATE",
        ),
        menu="Application protection > Alarms (v4: Applications and protections) > the profile (IPS_00 "
        "...) > "
        f"search {number} > Action: Allow",
        around=_UNDO,
        loses="this alarm; where it is sensitive, also the rest of the connection",
        check=_SHOW,
        undo="action=block",
        activation="at once, no reload",
        basis=INFERRED,
        source="Altospam; SNS CLI; SN series manual",
    )


def _setting(what: str, menu: str, setting: str, before: str, loses: str) -> Remedy:
    return Remedy(
        what,
        (f"CONFIG PROTOCOL SMTP PROFILE IPS CONFIG index=0 {setting}", "CONFIG PROTOCOL ACTIVATE"),
        menu=f"Application protection > Protocols > SMTP > the profile > {menu}",
        around=_UNDO,
        loses=loses,
        check="CONFIG PROTOCOL SMTP PROFILE SHOW index=0",
        undo=before,
        activation="at once, no reload",
        basis=CONFIRMED,
        source="SNS manual, SMTP IPS tab; SNS CLI",
    )


def _limit(**limits: int) -> Remedy:
    setting = " ".join(f"{token}={value}" for token, value in limits.items())
    undo = f"the old {' '.join(limits)}"
    menu = "IPS tab > sizes; the number below is the highest that the manual names: for more, let the alarm pass"
    made = _setting("the limit in this profile", menu, setting, undo, "this limit")
    return made._replace(raises=tuple((str(TOKENS[token]), value) for token, value in limits.items()))


def _switch(token: str) -> Remedy:
    return _setting("the switch in this profile", "IPS tab", f"{token}=Off", f"{token}=On", "this filter")


_FIRST: Final[dict[str, Remedy]] = {
    "stormshield.smtp-217": _limit(HeaderLineLimit=4096, CommandLineLimit=4096, ServerLineLimit=4096),
    "stormshield.smtp-217.command": _limit(CommandLineLimit=4096),
    "stormshield.smtp-217.reply": _limit(ServerLineLimit=4096),
    "stormshield.smtp-217.header": _limit(HeaderLineLimit=4096),
    "stormshield.smtp-217.bdat": _limit(BdatSize=10485760),
    "stormshield.smtp-217.xexch50": _limit(Xexch50Size=1073741824),
    "stormshield.filter-chunking": _switch("FilterChunkedExtension"),
    "stormshield.filter-exchange": _switch("FilterExchangeExtensions"),
    "stormshield.filter-turning": _switch("FilterTurningExtensions"),
    "stormshield.filter-pipelining": _switch("FilterPipeliningExtension"),
    "stormshield.pipelined-limit": _setting(
        "the limit in this profile", "IPS tab", "OutstandingPipelinedRequestLimit=0",
        "the old OutstandingPipelinedRequestLimit", "this limit",
    ),
    "stormshield.command-denied": _setting(
        "the lists in this profile",
        "SMTP commands tab, IPS part",
        'DenyOp="" AllowOp=""',
        "the lists as before",
        "the prohibition of these verbs",
    ),
}
_LEVEL: Final = {"217": "major"}


def remedies(rule: str) -> tuple[Remedy, ...]:
    """The remedies of a rule or a family, the narrowest first."""
    found = [FIREWALL_RULE]
    if rule in _FIRST:
        found.append(_FIRST[rule])
    if ".smtp-" in rule:
        number = rule.split(".")[1].removeprefix("smtp-")
        found.append(_pass(int(number), _LEVEL.get(number, "minor")))
    return (*found, PLUGIN_OFF)
