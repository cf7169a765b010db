"""A pass over a source that does nothing with its records: what reading alone takes."""

from libc.stdint cimport int64_t

from smtpinspect._core.sources cimport Source

# records read, at most `frames`; their octets are added to `octets`
cdef int64_t read_on(Source source, int64_t frames, bint decode, int64_t* octets) noexcept nogil
