"""Values of Content-Type and its like: a first word and parameters (RFC 2045 5.1, 2231)."""

from libc.stdint cimport uint8_t

from smtpinspect._core.span cimport Span
from smtpinspect._core.state cimport Text

# Without blanks and line ends around it.
cdef void trim(const uint8_t** p, Py_ssize_t* n) noexcept nogil
cdef Span first_token(const Text* value) noexcept nogil
cdef bint starts(const Text* value, const char* word, Py_ssize_t n) noexcept nogil        # `word` is lower case
# Append a parameter's octets to `out`, its continuations joined; its length as sent, -1 when absent. `raw_at`: where
# in the value it begins.
cdef Py_ssize_t param(
    const Text* value, const char* word, Py_ssize_t word_n, Text* out, Py_ssize_t* raw_at,
) noexcept nogil
