"""Each run against what was said of it before: predicted lines, or what the row itself asks for."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import predict
from receivers import RECEIVERS
from rows import SCRIPTED, Row
from scenes import FAKE
from senders import SENDERS

FIRED = re.compile(r"\d\d:\d\d:\d\d\.\d+ ")  # how such a line of `smtpinspect inline` begins


@dataclass(frozen=True)
class Judgement:
    """`wrong` is empty when the run agrees; lines are masked, `log` is not."""

    row: Row
    wrong: str = ""
    real: list[str] = field(default_factory=list)
    predicted: list[str] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    seconds: float = 0.0


def judge(row: Row, build: Path) -> Judgement:
    """What has become of a row; its files lie below `build`."""
    folder = build / row.name
    if not (folder / "result.json").exists():
        played = folder / "play.log"
        last = played.read_text(errors="replace").strip().splitlines()[-3:] if played.exists() else ["not begun"]
        return Judgement(row, f"could not be played: {' | '.join(last)}")
    try:
        judgement = JUDGES[row.judged](row, folder)
        whole = judgement.wrong or row.phase or row.judged == "relaxed"
        return judgement if whole else replace(judgement, wrong=_fired(row, folder))
    except (RuntimeError, LookupError, ValueError) as error:
        return Judgement(row, f"could not be judged: {error}")


def _sender(row: Row, folder: Path) -> Judgement:
    """The sender's log of a break is the predicted one."""
    predicted = predict.break_at(row)["sender_log"]
    return _compared(row, folder, _sent_log(row, folder), predicted, predict.sender_mask(row.client))


def _receiver(row: Row, folder: Path) -> Judgement:
    """The receiver's log of a break is the predicted one."""
    told = RECEIVERS[row.server].told
    lines = [line for line in _lines(folder / "receiver.log") if told.search(line)]
    predicted = predict.break_at(row)["receiver_log"].get(row.server, [])
    return _compared(row, folder, lines, predicted, predict.receiver_mask(row.server))


def _read(row: Row, folder: Path) -> Judgement:
    """The sender's log, read back, holds the phase and the kind of break that the capture of its side shows."""
    log = _sent_log(row, folder)
    told = _diagnose("--log", "\n".join(log))["logs"][-1]
    seen = _diagnose(str(folder / "client.pcap"))["mails"][0]
    phase, kind = seen["phase"], seen["break"]["kind"]
    real, read = f"{phase} {kind}", f"{' '.join(told['phases'])}: {' '.join(told['breaks'])}"
    wrong = "" if phase in told["phases"] and kind in told["breaks"] else "the log and the packets differ"
    return Judgement(row, wrong, [real], [read], log, _result(folder)["seconds"])


def _stopped(row: Row, folder: Path) -> Judgement:
    """The sender's log is what the rule was predicted to lead to, and the mail has not arrived."""
    lines = _sent_log(row, folder)
    capture = folder.parent / row.twin / "client.pcap"
    predicted = predict.by_rule(row, capture)["sender_log"]
    mask = predict.sender_mask(row.client)
    # Sendmail's priority counts octets of the queue file, which no capture shows.
    judgement = _compared(row, folder, lines, predicted, lambda line: re.sub(r"\bpri=\d+", "pri=<n>", mask(line)))
    if _arrived(row, folder):
        return Judgement(row, "the mail has arrived", judgement.real, judgement.predicted, lines, judgement.seconds)
    return judgement


def _arrives(row: Row, folder: Path) -> Judgement:
    """The mail arrives, and its sender knows."""
    lines = _sent_log(row, folder)
    sent = any(SENDERS[row.client].sent.search(line) for line in lines)
    arrived = _arrived(row, folder)
    wrong = "" if sent and arrived else "the sender says that it is not sent" if not sent else "it has not arrived"
    return Judgement(row, wrong, log=lines, seconds=_result(folder)["seconds"])


def _typed(row: Row, folder: Path) -> Judgement:
    """The fake command's answer, and whether the server has read it."""
    replies = [line for line in _result(folder)["said"].splitlines() if line[3:4] != "-"]
    place = row.typed.index(FAKE) + 1  # the greeting comes first
    answer = replies[place] if place < len(replies) else "nothing"
    seen = re.search(FAKE, (folder / "receiver.log").read_text(errors="replace"), re.IGNORECASE) is not None
    wrong = ""
    if answer != row.replied:
        wrong = f"{FAKE} was answered {answer!r}, not {row.replied!r}"
    elif seen == bool(row.box):
        wrong = "the server's log shows the command" if seen else "the server's log does not show the command"
    return Judgement(row, wrong, log=replies, seconds=_result(folder)["seconds"])


def _culprit(row: Row, folder: Path) -> Judgement:
    """The mail does not arrive."""
    log, arrived = _told(row, folder)
    return Judgement(row, "the mail has arrived" if arrived else "", log=log, seconds=_result(folder)["seconds"])


def _relaxed(row: Row, folder: Path) -> Judgement:
    """With the rules off that diagnose has named, the mail arrives."""
    log, arrived = _told(row, folder)
    wrong = "" if arrived else "the mail has not arrived"
    return Judgement(row, wrong, log=log, seconds=_result(folder)["seconds"])


def _contrast(row: Row, folder: Path) -> Judgement:
    """The rule is alone in the first place; the other, which fits as well, is refuted by mails that were accepted."""
    capture = folder / "client.pcap"
    product = row.fires.partition(".")[0]
    cut = [mail for mail in _diagnosed(capture, product) if mail["causes"]]
    lines, fell = [], 0
    for mail in cut:
        alone = folder / "alone.pcap"
        only = f"port {mail['client'].rpartition(':')[2]}"
        subprocess.run(["tcpdump", "-r", capture, "-w", alone, "-Z", "root", only], check=True, capture_output=True)
        before, after = _first(next(iter(_diagnosed(alone, product)))), _first(mail)
        refuted = [each["text"] for each in mail["against"] if each["cause"] == row.falls]
        lines.append(f"{' '.join(before)}; with the others: {' '.join(after)}; {' '.join(refuted)}")
        if after != [row.fires]:
            return Judgement(row, f"first is {' '.join(after)}, not {row.fires} alone", log=lines)
        if mail["relax"] != [row.fires]:
            return Judgement(row, f"to relax {' '.join(mail['relax'])} is more than {row.fires}", log=lines)
        fell += row.falls in before and bool(refuted)
    wanted = len([name for name in row.mixed if name in ("raw-both", "two-files")])
    wrong = "" if len(cut) > wanted == fell else f"{len(cut)} mails cut, {fell} times the wrong rule fell"
    return Judgement(row, wrong, log=lines)


def _diagnosed(capture: Path, spec: str) -> list[dict[str, Any]]:
    mails: list[dict[str, Any]] = _diagnose(str(capture), "-i", spec)["mails"]
    return mails


def _diagnose(*words: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "smtpinspect", "diagnose", *words, "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def _first(mail: dict[str, Any]) -> list[str]:
    """The causes in the first place."""
    return [cause["cause"] for cause in mail["causes"] if cause["rank"] == 0]


# What a stored message can be asked, with all of it on.
CONTENT = (
    "stormshield",
    "stormshield,header_line_limit=256,mime_headers=on",
    "sonicwall,extended_packers=on,block_multiple_compress_files=on",
    "mailguard:asa-7.0",
    "mailguard:asa-8,header_line_length=300,body_line_length=500",
    "mailguard:asa-8,match=header to-fields count gt 4 -> reset+mime filetype regex zip -> reset+mime encoding base64 "
    "-> reset+body length gt 3000 -> reset",
)


def _checked(row: Row, folder: Path) -> Judgement:
    """`check` of the message that was queued finds the rules that `replay` finds in it as it was sent."""
    stored = _fires(["check", str(folder / "mail.eml"), "--format", "json"])
    (message,) = json.loads(stored)["messages"]
    said = sorted({f"{each['inspector']} {each['rule']}" for each in message["alerts"]})
    told = " ".join(message["not_judged"])
    events = map(json.loads, _fires(["replay", str(folder / "client.pcap"), "--format", "eve"]).splitlines())
    fired = [each["smtpinspect"] for each in events if each["event_type"] == "alert"]
    sent = sorted({f"{each['inspector']} {each['rule']}" for each in fired if each["rule"] not in told})
    return Judgement(row, "" if said == sent else "check and replay differ", sent, said, [], _result(folder)["seconds"])


def _fires(words: list[str]) -> str:
    command = [sys.executable, "-m", "smtpinspect", *words, *(word for spec in CONTENT for word in ("-i", spec))]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _told(row: Row, folder: Path) -> tuple[list[str], bool]:
    """The sender's log of the mail, and whether it has arrived, which a bounce may have, too."""
    if row.client not in SENDERS:
        return _lines(folder / "sender.log"), _arrived(row, folder)
    log = _sent_log(row, folder)
    return log, any(SENDERS[row.client].sent.search(line) for line in log)


def _fired(row: Row, folder: Path) -> str:
    """What is wrong with what the box has reported; "" for nothing."""
    fired = [line for line in _lines(folder / "firewall.log") if FIRED.match(line)]
    if not row.fires:
        return f"the box has reported something: {fired[0]}" if fired else ""
    return "" if any(row.fires in line for line in fired) else f"the box has not reported {row.fires}"


JUDGES: dict[str, Callable[[Row, Path], Judgement]] = {
    "sender": _sender,
    "receiver": _receiver,
    "read": _read,
    "stopped": _stopped,
    "arrives": _arrives,
    "typed": _typed,
    "culprit": _culprit,
    "relaxed": _relaxed,
    "checked": _checked,
    "contrast": _contrast,
}


def _compared(row: Row, folder: Path, log: list[str], predicted: Iterable[str], mask: predict.Mask) -> Judgement:
    real, wanted = [mask(line) for line in log], [mask(line) for line in predicted]
    wrong = "" if real == wanted else "other lines than predicted"
    return Judgement(row, wrong, real, wanted, log, _result(folder)["seconds"])


def _sent_log(row: Row, folder: Path) -> list[str]:
    """What the sender's log tells of the mail, and not of a bounce to who sent it."""
    sender = SENDERS[row.client]
    bounce = re.compile(rf"(to=<?|\*\* |== |=> )a@{re.escape(sender.hostname)}\b")
    return [line for line in _lines(folder / "sender.log") if sender.told.search(line) and not bounce.search(line)]


def _arrived(row: Row, folder: Path) -> bool:
    if row.server == SCRIPTED:
        return (folder / "received" / "1.eml").exists()
    return any(SENDERS[row.client].sent.search(line) for line in _sent_log(row, folder))


def _result(folder: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return result


def _lines(file: Path) -> list[str]:
    return file.read_text(errors="replace").splitlines()
