"""What an executable begins with: patterns of grammar.packers, and where their jumps and calls lead."""

from libc.stdint cimport int64_t, uint8_t, uint32_t

from smtpinspect._core.pestate cimport Pe

cdef void entry_begin(Pe* e, uint32_t rva) noexcept nogil                   # e.entry is known
cdef void entry_octet(Pe* e, int64_t at, uint8_t octet) noexcept nogil      # one that entry_wants asked for
cdef void entry_leave(Pe* e, int group) noexcept nogil                      # nothing more of this group is looked for
cdef int64_t entry_wants(Pe* e) noexcept nogil                              # octets to the next wanted one, INT64_MAX
