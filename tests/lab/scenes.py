"""Rules at work: a row per mail that a rule stops, and per twin that arrives."""

from dataclasses import replace
from typing import NamedTuple

from rows import CLIENTS, TYPED, Row


class Alarm(NamedTuple):
    """A Stormshield alarm, and what makes it ring between real servers."""

    number: int
    client: str
    mail: str
    settings: dict[str, str] = {}  # of the client
    replies: dict[str, str] = {}  # of the server


ALARMS = (
    Alarm(122, "postfix", "raw-from", {"smtputf8_enable": "no"}),
    Alarm(217, "exim", "long-references", {"message_linelength_limit": "10000"}),
    # Sendmail skips reply lines that are no replies.
    Alarm(219, "sendmail", "minutes", {}, {"RCPT": r"\r\n250 2.1.5 Ok"}),
    Alarm(223, "sendmail", "minutes", {}, {"EHLO": "502 5.5.2 Error: command not recognized"}),
    Alarm(231, "exim", "raw-subject"),
)


def _alarms(alarm: Alarm) -> list[Row]:
    name, inspector = f"stormshield-{alarm.number}", f"stormshield,{alarm.number}.action="
    blocked = Row(
        name=f"{name}-block",
        group="rules",
        judged="stopped",
        client=alarm.client,
        mail=alarm.mail,
        settings=alarm.settings,
        replies=alarm.replies,
        box=("-i", f"{inspector}block"),
        fires=f"stormshield.smtp-{alarm.number}",
        twin=f"{name}-level-firewall",
    )
    arrives = replace(blocked, judged="arrives", twin="")
    passed = replace(arrives, name=f"{name}-pass", box=("-i", f"{inspector}pass"))
    level = replace(arrives, name=blocked.twin, box=("-i", f"{inspector}block,level=firewall"), fires="")
    return [blocked, passed, level]


# rule, the mail that it stops, its clean twin, who sends both
RESTRICTIONS = (
    ("encrypted-zip", "encrypted-zip", "plain-zip", "postfix"),
    ("office-macro", "office-macro", "plain-office", "exim"),
    ("packed-exe", "packed-exe", "plain-exe", "opensmtpd"),
)


def _restrictions(rule: str, mail: str, clean: str, client: str) -> list[Row]:
    name = f"sonicwall-{rule}"
    box, off = ("-i", "sonicwall"), ("-i", f"sonicwall,off={rule}")
    stopped = Row(
        name=name,
        group="rules",
        judged="stopped",
        client=client,
        mail=mail,
        box=box,
        fires=f"sonicwall.{rule}",
        twin=f"{name}-off",
    )
    arrives = replace(stopped, judged="arrives", fires="", twin="")
    return [
        stopped,
        replace(arrives, name=stopped.twin, box=off),
        replace(arrives, name=f"{name}-clean", mail=clean),
    ]


# Cisco's document 4733: type a command that does not exist, and look who answers.
FAKE = "Some-fake-command"
# name, box, the answer to the fake command; 500 is Postfix's own
ANSWERS = (
    ("without", (), "500 5.5.2 Error: command not recognized"),
    ("pix-4.0", ("-i", "mailguard:pix-4.0"), "250 OK"),
    ("pix-4.0-literal", ("-i", r"mailguard:pix-4.0,deny_reply=OK\r\n"), "OK"),
    ("pix-6", ("-i", "mailguard:pix-6"), "500 5.5.2 Error: command not recognized"),
    ("pix-6-noop", ("-i", "mailguard:pix-6,deny_style=noop"), "250 2.0.0 Ok"),
)
# smtpd tells every line that it reads.
VERBOSE = {"debug_peer_list": "10.9.1.1", "debug_peer_level": "2"}


def _fakes(name: str, box: tuple[str, ...], replied: str) -> Row:
    return Row(
        name=f"mailguard-fake-command-{name}",
        group="rules",
        judged="typed",
        client=TYPED,
        server="postfix",
        box=box,
        fires="mailguard.command-not-allowed" if box else "",
        typed=("HELO out.example.com", FAKE, "QUIT"),
        replied=replied,
        server_settings=VERBOSE,
    )


def _through(client: str, profile: str, fires: str) -> Row:
    return Row(
        name=f"mailguard-{profile}-{client}",
        group="rules",
        judged="arrives",
        client=client,
        server="postfix",
        box=("-i", f"mailguard:{profile}"),
        fires=f"mailguard.{fires}",
        mail="minutes",
    )


SCENES = [row for alarm in ALARMS for row in _alarms(alarm)]
SCENES += [row for restriction in RESTRICTIONS for row in _restrictions(*restriction)]
SCENES += [_fakes(*answer) for answer in ANSWERS]
SCENES += [
    _through(client, profile, fires)
    for client in CLIENTS
    for profile, fires in (("pix-4.0", "ehlo-blocked"), ("pix-6", "banner-masked"))
]
