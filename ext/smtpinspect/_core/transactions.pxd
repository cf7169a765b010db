"""Mails: begun by MAIL, filled by RCPT and the text, ended by their deciding reply (design: a mail)."""

from libc.stdint cimport int64_t, uint8_t

from smtpinspect._core.commands cimport Command
from smtpinspect._core.state cimport Conn, Mail, PHASE_MAIL, PHASE_RCPT, Talk
from smtpinspect._core.verdicts cimport Verdicts


cdef inline int mail_phase(const Mail* mail) noexcept nogil:
    """The phase that an open mail has reached before its text."""
    return PHASE_RCPT if mail.rcpt_count else PHASE_MAIL


cdef Mail* mail_begin(Verdicts verdicts, Conn* conn, int64_t at) noexcept nogil
cdef void mail_sender(Mail* mail, Command* c) noexcept nogil
cdef int mail_recipient(Mail* mail, Command* c) noexcept nogil      # its index, -1 when not kept
cdef void unlink_mail(Talk* talk, Mail* mail) noexcept nogil        # it is none of the connection's any more
# No more commands belong to it; it ends when its last reply has come.
cdef void mail_close(Verdicts verdicts, Conn* conn, Mail* mail, int outcome) noexcept nogil
cdef void mail_decide(Verdicts verdicts, Conn* conn, Mail* mail, int code) noexcept nogil    # the reply to its text
cdef void mail_end(Verdicts verdicts, Conn* conn, Mail* mail, int outcome, int phase) noexcept nogil
# All that are left, when the connection ends.
cdef void mails_end(Verdicts verdicts, Conn* conn) noexcept nogil
# STARTTLS accepted, or TLS from the first octet: one record without addresses.
cdef void mail_encrypted(Verdicts verdicts, Conn* conn) noexcept nogil
