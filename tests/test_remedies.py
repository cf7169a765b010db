"""What a page says to do: each with its cost, its check and its undo; commands that their programs take."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from smtpinspect.diagnose.causes.loaded import inspector_of
from smtpinspect.diagnose.causes.remedies import on_firewall, remedies
from smtpinspect.diagnose.causes.sender import CHANGES, changes
from smtpinspect.diagnose.lookalikes.filled import LONGER, addressed, longer
from smtpinspect.diagnose.lookalikes.table import TABLE
from smtpinspect.diagnose.model import Case, Observed, Remedy
from smtpinspect.inspectors import registry
from smtpinspect.mta import registry as senders
from smtpinspect.mta.base import Step
from smtpinspect.simulate.observed import STEPS
from smtpinspect.simulate.script import Transaction

FOUR, SIX = ("192.0.2.1", "198.51.100.7"), ("2001:db8::1", "2001:db8:2::7")
BUILT_IN = (*registry.default(), *registry.always())
TIME = "2026-11-22 11:02:55 UTC"


def alike(client: str, server: str) -> Iterator[Remedy]:
    """Of every look-alike, for one mail."""
    for row in TABLE:
        for each in row.remedies:
            yield from map(longer, dict.fromkeys(STEPS.values())) if each is LONGER else (
                addressed(each, client, server, "2525", TIME),
            )


def by_sender(peer: str) -> Iterator[Remedy]:
    """Of every rule; what the rule's page says where no change is known."""
    for inspector in BUILT_IN:
        for rule in inspector.ids():
            yield from changes(case(peer), rule)


def case(peer: str) -> Case:
    """All that a change asks of one."""
    return cast(Case, SimpleNamespace(path=("192.0.2.1", peer), transaction=None, script=None, mail=None))


def on_box() -> Iterator[Remedy]:
    """Of every rule of every profile, as a diagnosis gives them."""
    for inspector in BUILT_IN:
        for profile in inspector.profiles or ("",):
            for rule in inspector.ids():
                yield from on_firewall(rule, ":".join(filter(None, (inspector.name, profile))), "192.0.2.1")


def pasted(listed: Iterable[Remedy]) -> list[str]:
    """Their commands, and those that `check` and `undo` name without a word around them."""
    return [line for each in listed for line in each.commands]


@pytest.mark.parametrize("ends", [FOUR, SIX])
def test_each_has_its_cost_its_check_and_its_undo(ends: tuple[str, str]) -> None:
    listed = [*alike(*ends), *by_sender(ends[1]), *on_box()]
    assert len(listed) > 200
    for each in listed:
        assert each.loses and each.check and each.undo, each


def test_so_has_each_of_a_rules_page() -> None:
    for inspector in BUILT_IN:
        for rule in inspector.ids():
            for each in inspector.remedies(rule):
                assert each.loses and each.check and each.undo, (rule, each.title)


def test_what_a_change_holds_is_whole() -> None:
    for rule, change in CHANGES.items():
        assert change.loses and change.check and change.undo, rule
        assert not any("PEER" in each.title for each in changes(case(SIX[1]), rule))


@pytest.mark.parametrize("ends", [FOUR, SIX])
def test_a_shell_takes_them_and_nothing_is_left_to_fill_in(ends: tuple[str, str]) -> None:
    lines = pasted([*alike(*ends), *by_sender(ends[1])])
    subprocess.run(["bash", "-n"], input="\n".join(lines), text=True, check=True)
    assert any("'postfix*' -u exim4" in line for line in lines)  # Debian's units
    for line in lines:
        assert "eth0" not in line
        assert re.match(r"#|[a-z]", line) and not re.match(r"\w+:", line), line
        assert not re.search(r"PEER|SERVER|CLIENT|\bPORT\b|\bTIME\b|IPTABLES|TOO_BIG|[{}]field", line), line


@pytest.mark.parametrize(("header", "told"), [
    ("X-Long: {}", "fold X-Long"),
    ("References: <a@b>\r\n {}\r\nX-Short: x", "keep fewer entries in References"),
    ("Received: {}\r\nReferences: <a@b>", "fold the header line"),
])  # fmt: skip
def test_the_field_that_is_too_long_is_named(header: str, told: str) -> None:
    made = case(FOUR[1])
    text = f"{header.format('y' * 5_000)}\r\nSubject: x\r\n\r\n{'z' * 9_000}\r\n"
    made.transaction = cast(Transaction, SimpleNamespace(text=text.encode()))
    (remedy,) = changes(made, "stormshield.smtp-217.header")
    assert remedy.title.startswith(told)
    assert ("References" in str(remedy)) == ("References" in told)
    assert "Received" not in str(remedy)  # no mail is to go without it


def test_a_limit_under_which_it_was_cut_is_no_way_out() -> None:
    """HeaderLineLimit goes up to 4,096."""
    specs = "stormshield:high,header_line_limit=1000", "stormshield:high"
    rule = "stormshield.smtp-217.header"
    for number, spec in enumerate(specs):
        ways = on_firewall(rule, specs[0], tripped=[inspector_of(spec)])
        assert any("HeaderLineLimit" in line for each in ways for line in each.commands) == (number == 0)
        assert len(ways) == 4 - number


@pytest.mark.parametrize(("octets", "limit"), [(1_500, 4_096), (5_008, 8_192)])
def test_an_asas_limit_lets_this_line_through(octets: int, limit: int) -> None:
    made = case("198.51.100.7")
    made.transaction = cast(Transaction, SimpleNamespace(text=b"X-Long: " + b"y" * octets + b"\r\n\r\n"))
    made.observed = cast(Observed, SimpleNamespace(broken=SimpleNamespace(kind="drop")))
    made.alerts = []
    lines = pasted(remedies(made, "mailguard.header-line-length", "mailguard:asa-8"))
    assert f" match header line length gt {limit}" in lines


def test_a_pix_is_told_to_be_configured_first() -> None:
    """At the prompt of a login `policy-map` is no command."""
    for profile in ("pix-6", "asa-8"):
        (first, *_) = on_firewall("mailguard.banner-masked", f"mailguard:{profile}")
        assert first.commands[0] == "configure terminal"


def test_a_body_of_a_request_is_told_where_to_go() -> None:
    for each in on_firewall("sonicwall.office-macro", "sonicwall"):
        assert "PUT /api/sonicos/gateway-antivirus/base" in each.commands[0] and each.commands[1].startswith("{")


def test_the_words_fit_the_family() -> None:
    four, six = ("\n".join([*pasted(alike(*ends)), *(str(each) for each in alike(*ends))]) for ends in (FOUR, SIX))
    assert "ip6tables -t mangle" in six and "ping -M do -s 1452 2001" in six and "ICMPv6 type 2" in six
    assert "iptables -t mangle" in four and "ping -M do -s 1472 198" in four and "ICMP type 3 code 4" in four
    assert not re.search(r"(?<!p6)tables|iptables|type 3 code 4", six)


@pytest.mark.parametrize(("phase", "step"), STEPS.items())
def test_the_time_out_is_that_of_the_phase(phase: str, step: Step) -> None:
    """No mail server asks the timer of the end of data at another step, and none is made to wait for less."""
    said = "\n".join(longer(step).commands)
    assert ("smtp_data_done_timeout" in said) == ("final_timeout" in said) == (step == "dot"), phase
    for name in ("postfix", "exim", "sendmail"):
        timer = next(each for each in senders.SENDERS[name].timers if step in each.steps)
        assert not timer.setting or f"{timer.setting}=" in said.replace(" = ", "="), phase
    held = {"s": 1, "m": 60}
    for number, unit in re.findall(r"= ?(\d+)([sm])\b", said):
        assert int(number) * held[unit] >= (120 if step == "datacmd" else 180), said


@pytest.mark.parametrize("server", [FOUR[1], SIX[1]])
def test_a_route_is_read_from_what_ip_tells(tmp_path: Path, server: str) -> None:
    """With `ip` in its place: a neighbour, a router, IPv6 with its `from`."""
    (line,) = [each for each in pasted(alike("", server)) if each.startswith("ip route add")]
    told = {
        f"{server} dev eth0 src 192.0.2.1 uid 0": "dev eth0",
        f"{server} via 192.0.2.254 dev eth0 src 192.0.2.1 uid 0": "via 192.0.2.254 dev eth0",
        f"{server} from :: via fe80::1 dev eth0 proto ra src 2001:db8::1 metric 1024": "via fe80::1 dev eth0",
        f"{server} from :: dev eth0 proto kernel src 2001:db8::1 metric 256": "dev eth0",
    }
    for answer, hop in told.items():
        script = f"ip() {{ case $2 in get) echo '{answer}';; *) echo \"$@\";; esac; }}\n{line}"
        made = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout
        assert made == f"route add {server} {hop} mtu lock 1280\n"


@pytest.mark.parametrize(("now", "then"), [(432_000, 432_000), (300, 7_440)])
def test_no_idle_time_is_made_shorter(now: int, then: int) -> None:
    """Linux' own is five days."""
    lines = [each for each in pasted(alike(*FOUR)) if "nf_conntrack" in each]
    held = f"""held={now}
sysctl() {{ case $1 in -n) echo $held;; -w) held=${{2#*=}};; *) echo "$1 = $held";; esac; }}
"""
    script = held + "\n".join(lines) + "\necho $held"
    made = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout
    assert int(made.split()[-1]) == then


def test_postfix_knows_its_parameters(tmp_path: Path) -> None:
    postconf = shutil.which("postconf")
    if postconf is None:
        pytest.skip("no postconf here")
    lines = [line for line in pasted([*alike(*FOUR), *by_sender(FOUR[1])]) if line.startswith("postconf ")]
    word = re.compile(r"\b[a-z]+(?:_[a-z]+)+\b(?= |=|$)")
    names = {name for line in lines for name in word.findall(line.partition("#")[0])}
    assert {"smtp_rcpt_timeout", "milter_content_timeout", "postscreen_access_list"} <= names
    (tmp_path / "main.cf").touch()
    (tmp_path / "master.cf").write_text("smtp unix - - n - - smtp\n")  # has parameters of its own
    asked = [postconf, "-c", str(tmp_path), "-d", *sorted(names)]
    made = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert names <= {line.partition(" =")[0] for line in made.stdout.splitlines()}, made.stderr


def test_exim_knows_its_options(tmp_path: Path) -> None:
    """A configuration with all of them in a transport `smtp`."""
    exim = shutil.which("exim4") or shutil.which("exim")
    if exim is None:
        pytest.skip("no exim here")
    options = {
        name: value for line in pasted([*alike(*FOUR), *by_sender(FOUR[1])])
        if (found := re.match(r"# Exim, transport smtp: (\w+) = (.*)", line)) for name, value in [found.groups()]
    }  # fmt: skip
    assert len(options) > 6
    lines = "".join(f"  {name} = {value}\n" for name, value in options.items())
    made = tmp_path / "exim.conf"
    made.write_text(f"begin transports\nout:\n  driver = smtp\n{lines}")
    told = subprocess.run([exim, "-C", str(made), "-bV"], capture_output=True, text=True, check=False)
    assert told.returncode == 0 and "error" not in told.stdout + told.stderr, told.stdout + told.stderr
