"""Runs that are known not to agree, and why: what simulate does not model, what MTAs mend.

They are listed with every report.
"""

EXPLAINED = {
    "postfix-databody-fin-50000": "Postfix flushes its last buffer, less than 4,096 octets, with the end mark: "
    "when just that one waits for room, behind a FIN, the time-out is the one of the end of data; simulate lets it in.",
    "opensmtpd-databody-fin-50000": "OpenSMTPD leaves some 42,000 octets with the kernel before it waits (measured: "
    "40,000 are taken whole, 45,000 are not); in simulate 64,000. Behind a FIN it then waits its 300 s.",
    "checked-long-references-sendmail": "Sendmail folds the header line of 4,600 octets; check reads the message that "
    "is queued, and says that it cannot judge what mail servers change.",
    "checked-raw-name-postfix": "Postfix takes a line that is no header field for the end of the header: on the wire "
    "it stands in the body.",
    "checked-raw-name-sendmail": "As with Postfix.",
}
