"""A mail's octets: DATA's up to the end mark, BDAT's by their number; what they mean is mime's business."""

from libc.stdint cimport int64_t, uint8_t

from smtpinspect._core.dialogue cimport Dialogue
from smtpinspect._core.state cimport Conn, Talk

# Watch for the end mark of the text that begins; `text_begins` does so too.
cdef void mark_begins(Talk* talk) noexcept nogil
cdef void text_begins(Dialogue dialogue, Conn* conn, int64_t at, bint stuffed) noexcept nogil
# Both return how many octets were read: up to the end of the text or of the chunk.
cdef Py_ssize_t text_feed(Dialogue dialogue, Conn* conn, const uint8_t* p, Py_ssize_t n, int64_t at) noexcept nogil
cdef Py_ssize_t chunk_feed(Dialogue dialogue, Conn* conn, const uint8_t* p, Py_ssize_t n, int64_t at) noexcept nogil
cdef void chunk_done(Dialogue dialogue, Conn* conn, int64_t at) noexcept nogil
