"""The import directory of an executable whose headers look packed: the functions of the first DLL."""

from smtpinspect._core.pestate cimport Pe

# As far as octets are there; e.imports_need is the next one that tells more, until e.imports_open is False.
cdef void imports_look(Pe* e) noexcept nogil
