"""The table of look-alikes: what breaks a mail as a content rule does, and is none."""

from __future__ import annotations

from typing import Final

from smtpinspect.diagnose.lookalikes import captured, network, receiver, sender
from smtpinspect.diagnose.lookalikes.filled import LONGER
from smtpinspect.diagnose.lookalikes.view import LookAlike
from smtpinspect.diagnose.model import Remedy

_NOTHING: Final = "nothing to undo"
_LOOKS: Final = "nothing: it only looks"
_WHOLE: Final = Remedy(
    "network", "capture again on both sides, whole, until the sender has given up",
    ("tcpdump -U -i any -s0 -w mail.pcap 'host SERVER and port PORT or icmp or icmp6'",), loses=_LOOKS,
    check="smtpinspect transcript mail.pcap tells every byte of the mail", undo=_NOTHING,
)  # fmt: skip
_LOG: Final = "journalctl -u 'postfix*' -u exim4 --since 'TIME'"  # Debian's: the instance is postfix@-
_DROPS: Final = "ethtool -S $(ip route get SERVER | grep -Eo 'dev [^ ]+' | cut -c5-)"
# `via` is missing where the server is a neighbour; in IPv6 `from` stands before it.
_HOP: Final = "$(ip route get SERVER | grep -Eo '(via (inet6 )?[^ ]+ )?dev [^ ]+')"
_CLAMP: Final = "FORWARD -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu"
_IDLE: Final = "net.netfilter.nf_conntrack_tcp_timeout_established"
_ACCESS: Final = "/etc/postfix/postscreen_access.cidr"


def _scanned_for(title: str) -> Remedy:
    return Remedy(
        "receiver", title, ("postconf -e milter_content_timeout=120s",),
        loses="what takes longer is not scanned before the reply",
        check="seconds between the end of the text and the 250", undo="postconf -X milter_content_timeout",
    )  # fmt: skip


TABLE: Final = (
    LookAlike(
        "path-mtu", "path MTU black hole", network.path_mtu,
        (
            Remedy("sender", "let TCP find a size that passes",
                   ("sysctl -w net.ipv4.tcp_mtu_probing=1",), loses="some seconds at the first large packet",
                   check="tracepath SERVER; the mail goes out", undo="sysctl -w net.ipv4.tcp_mtu_probing=0"),
            Remedy("sender", "a smaller MTU on the route to this server",
                   (f"ip route add SERVER {_HOP} mtu lock 1280",),
                   loses="a little speed", check="ip route get SERVER", undo="ip route del SERVER"),
            Remedy("network", "clamp the MSS at the tunnel",
                   (f"IPTABLES -t mangle -A {_CLAMP}",),
                   loses="a little speed, for all connections through it",
                   check="the MSS in the SYN at the far side", undo=f"IPTABLES -t mangle -D {_CLAMP}"),
            Remedy("network", "let TOO_BIG through, from every router on the path to the sender",
                   loses="nothing: TCP needs it (RFC 1191, RFC 4890 4.3.1)",
                   check="ping -M do -s ECHO SERVER is answered, or told an mtu", undo="take the rule out again"),
        ),
        "a packet as large as the lost one was acknowledged, or a smaller one behind it was not answered either",
        "RFC 2923 2.1; RFC 8899; RFC 4821",
    ),
    LookAlike(
        "zero-window", "the server's window stays closed", receiver.zero_window,
        (Remedy("receiver", "find out why the server does not read: disk, milter, memory, a stopped process",
                ("ss -tin sport = :PORT", "ps -eo pid,stat,wchan,cmd | grep smtp"),
                loses=_LOOKS, check="Recv-Q of the connection goes to 0", undo=_NOTHING),),
        "the server's window was open",
        "RFC 9293 3.8.6.1",
    ),
    LookAlike(
        "slow-scanner", "the server answers too late", receiver.slow_scanner,
        (
            _scanned_for("answer within the sender's time-out: scan after the 250, or give the scanner less time"),
            LONGER,
        ),
        "the server did not have the whole text, or had answered, or did not answer at all",
        "RFC 5321 6.1, 4.5.3.2.6; RFC 1047",
    ),
    LookAlike(
        "server-gone", "the server ended or was started anew", receiver.server_gone,
        (Remedy("receiver", "read the server's log of that second",
                (_LOG, "dmesg -T | grep -i 'out of memory'"),
                loses=_LOOKS, check="the next attempt is accepted", undo=_NOTHING),),
        "the server's TCP answered to the end, or another connection meanwhile; the same mail stalled at the same "
        "byte again; the end was forged by another",
        "RFC 9293 3.5.2, 3.10.7.1; RFC 5321 3.8",
    ),
    LookAlike(
        "full-disk", "no room at the receiver", receiver.full_disk,
        (Remedy("receiver", "make room in the queue's file system or the mailbox",
                ("df -h /var/spool", "postconf queue_minfree message_size_limit"), loses="what is removed for it",
                check="the next attempt is accepted", undo="nothing to undo, once it is removed"),),
        "no reply says so",
        "RFC 5321 4.2.3; RFC 3463 3.4",
    ),
    LookAlike(
        "milter", "a filter of the receiver fails", receiver.milter,
        (Remedy("receiver", "look into the filter's log; let mail pass while the filter is away",
                ("postconf -e milter_default_action=accept",), loses="mail is not looked at while the filter is away",
                check="the reply to the end of the text", undo="postconf -X milter_default_action"),),
        "no reply says so",
        "Postfix MILTER_README, milter_default_action",
    ),
    LookAlike(
        "filter-refuses", "a filter refuses it, at the receiver or before it", receiver.filter_refuses,
        (Remedy("receiver", "look for the mail in the filter's log; except this sender where the filter is wrong",
                loses="the filter's view of this sender's mail", check="the next mail like it is accepted",
                undo="take the exception out again"),
         Remedy("sender", "send it without what the reply objects to: another attachment, another text",
                loses="what is left out", check="the reply to the end of the text", undo=_NOTHING)),
        "no reply says so",
        "RFC 3463 3.8; RFC 5321 4.2.5",
    ),
    LookAlike(
        "busy", "the server refuses for now: load, or too many connections", receiver.busy,
        (Remedy("sender", "nothing: it is tried again; fewer connections at once to this server",
                ("postconf -e smtp_destination_concurrency_limit=2", "# Exim, transport smtp: max_parallel = 2"),
                loses="many mails to one server take longer", check="the next attempt is accepted",
                undo="postconf -X smtp_destination_concurrency_limit"),
         Remedy("receiver", "more connections for this sender, or less load",
                ("postconf smtpd_client_connection_count_limit", "postconf default_process_limit",
                 "ss -ltn sport = :PORT  # Recv-Q above Send-Q: its queue is full"),
                loses="memory, and a bound on what one sender takes", check="the next attempt is accepted",
                undo="the limits as `postconf` printed them before")),
        "no reply says so, and the connection was answered",
        "RFC 5321 3.8, 4.2.1; Postfix smtpd_client_connection_count_limit",
    ),
    LookAlike(
        "greylisting", "greylisting", receiver.greylisting,
        (Remedy("sender", "nothing: the next attempt, from the same address, is accepted",
                loses="the minutes until then", check="the next attempt is accepted", undo=_NOTHING),
         Remedy("receiver", "except CLIENT from greylisting", loses="its spam comes through at once",
                check="its next mail is accepted at once", undo="take the exception out again")),
        "no reply says so",
        "RFC 6647 2",
    ),
    LookAlike(
        "refused", "the server refuses it", receiver.refused,
        (Remedy("receiver", "read the reply, and the server's log of that second", (_LOG,),
                loses=_LOOKS, check="the log says why", undo=_NOTHING),),
        "the server never said 4xx or 5xx",
        "RFC 5321 4.2",
    ),
    LookAlike(
        "gateway-virus", "a firewall's anti-virus (SonicWall's, or another's) refuses", receiver.gateway,
        (Remedy("firewall", "look for this mail in the log of the firewall's anti-virus; SonicWall: m=809",
                loses=_LOOKS, check="the line names a signature, or a restriction", undo=_NOTHING),),
        "the reply does not say so",
        "RFC 5321 4.2.3: 552; SonicOS, Gateway Anti-Virus: SMTP responses",
    ),
    LookAlike(
        "tarpit", "the server is slow on purpose, or overloaded", receiver.tarpit,
        (LONGER,
         Remedy("receiver", "except CLIENT from delays",
                (f"echo 'CLIENT permit' >>{_ACCESS}", "postconf postscreen_access_list  # what undo sets again",
                 f"postconf -e 'postscreen_access_list=permit_mynetworks, cidr:{_ACCESS}'", "postfix reload",
                 "# Exim, the ACL with `delay`: before it, !hosts = <; CLIENT"),
                loses="its spam is not found out by its haste", check="the greeting comes at once",
                undo=f"its line out of {_ACCESS}, the old postscreen_access_list, postfix reload")),
        "its replies came soon",
        "RFC 5321 4.5.3.2; Postfix TARPIT: smtpd_error_sleep_time; POSTSCREEN_README",
    ),
    LookAlike(
        "idle-timeout", "a NAT, a balancer or a firewall forgot the connection", network.idle,
        (
            Remedy("network", "a longer idle time for port PORT than the sender's longest wait: 600 s",
                   (f"sysctl {_IDLE}  # of a Linux box; what undo sets again",
                    f"test $(sysctl -n {_IDLE}) -ge 7440 || sysctl -w {_IDLE}=7440"),
                   loses="memory for idle connections", check="a session that is silent for 10 minutes goes on",
                   undo="the value that was there before"),
            _scanned_for("answer sooner: less time for the scanner"),
        ),
        "there was no long silence before the break",
        "RFC 5382 5, REQ-5; RFC 5321 4.5.3.2",
    ),
    LookAlike(
        "loss", "packets are lost on the way", network.loss,
        (Remedy("network", "find where packets are lost: cable, duplex, radio, a full queue",
                ("mtr -T -P PORT SERVER", _DROPS), loses=_LOOKS,
                check="in a new capture no segment is sent again", undo=_NOTHING),),
        "nothing else had to be sent again",
        "RFC 9293 3.8.1; RFC 6298",
    ),
    LookAlike(
        "outage", "the line was down", network.outage,
        (Remedy("network", "nothing in the mail: wait for the next attempt", loses="the minutes until then",
                check="the next attempt is accepted; other connections at that time broke, too", undo=_NOTHING),),
        "packets came through to the end, or on another connection meanwhile; the same mail stalled at the same byte "
        "again",
        "RFC 9293 3.8.3",
    ),
    LookAlike(
        "strict-end", "the text does not end with CR LF . CR LF", sender.strict_end,
        (Remedy("sender", "send CR LF at the end of every line: correct the program that writes the mail",
                loses="nothing", check="the next capture ends the text with CR LF . CR LF", undo=_NOTHING),
         Remedy("receiver", "take the end as it comes",
                ("postconf smtpd_forbid_bare_newline  # what undo sets again",
                 "postconf -e smtpd_forbid_bare_newline=no"),
                loses="protection against SMTP smuggling (CVE-2023-51764)", check="the mail is accepted",
                undo="the value that was there before")),
        "the text ended with CR LF . CR LF",
        "RFC 5321 4.1.1.4; CVE-2023-51764",
    ),
    LookAlike(
        "missing-crlf", "no line end before the final dot", sender.missing_crlf,
        (Remedy("sender", "end the last line of the text with CR LF before the dot: correct the program",
                loses="nothing", check="the next capture ends the text with CR LF . CR LF", undo=_NOTHING),),
        "the text ended with CR LF . CR LF",
        "RFC 5321 4.1.1.4",
    ),
    LookAlike(
        "sender-timeout", "the sender did not wait long enough", sender.sender_timeout,
        (LONGER,),
        "nothing came back any more, or it waited as long as it must",
        "RFC 5321 4.5.3.2",
    ),
    LookAlike(
        "sender-stopped", "the sender stopped in the middle", sender.sender_stopped,
        (Remedy("sender", "read the sender's log of that second: its program or machine ended, or hangs",
                (_LOG,), loses=_LOOKS, check="the next attempt goes on to the end", undo=_NOTHING),),
        "the text went on, or was waited for on the way",
        "RFC 5321 4.5.3.2.5",
    ),
    LookAlike(
        "one-bad-mx", "one of several servers behind the address", network.one_bad_mx,
        (Remedy("receiver", "take that server out of the balancer, and look at its disk, memory and log",
                loses="its share of the work", check="the next attempts are accepted",
                undo="put it back when it is well"),
         Remedy("sender", "nothing: a later attempt meets another server",
                loses="the minutes until then", check="a later attempt is accepted", undo=_NOTHING)),
        "a box on the way ended it; that an accepted mail met a server which shows the same tells nothing",
        "RFC 9293 3.5; RFC 1794",
    ),
    LookAlike(
        "port-filter", "the port is filtered or closed", network.port_filter,
        (Remedy("network", "let TCP to port PORT through, from this address",
                ("nc -vz SERVER PORT", "traceroute -T -p PORT SERVER"), loses="nothing but the filter for this address",
                check="nc -vz SERVER PORT tells of a connection", undo="take the rule out again"),
         Remedy("sender", "where the provider blocks port 25: its relay on port 587", loses="its limits apply",
                check="the mail arrives by the relay", undo="deliver without the relay again")),
        "the handshake was completed",
        "RFC 9293 3.10.7.1; RFC 1812 5.2.7.1",
    ),
    LookAlike(
        "capture-stopped", "the capture ends too early", captured.stopped, (_WHOLE,),
        "the end of the connection, or a long silence, is in the capture", "tcpdump(1), -c, -G and -W",
    ),
    LookAlike(
        "capture-one-way", "the capture holds one side only", captured.one_direction, (_WHOLE,),
        "packets of both sides are there", "RFC 9293 3.4",
    ),
    LookAlike(
        "capture-gaps", "the capture lost packets", captured.gaps, (_WHOLE,),
        "every byte that was acknowledged is there", "tcpdump(1), 'packets dropped by kernel'",
    ),
)  # fmt: skip
NAMES: Final = tuple(row.name for row in TABLE)
