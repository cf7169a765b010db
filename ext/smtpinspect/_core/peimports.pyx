"""The import directory of an executable whose headers look packed: the functions of the first DLL."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from smtpinspect._core.packrows cimport (
    BY_IMPORTS,
    IF_NO_CODE,
    IF_UNPACKS,
    IF_UNPACKS_DLL,
    PACKER_NAMES,
    PackerRow,
    function_name,
    packer_row,
    packer_rows,
)
from smtpinspect._core.pestate cimport IMPORTS_BEFORE, NEVER, NOT_YET, PE_HEAD, PE_IMPORTS, Pe, complete, offset_of


cdef int seen(Pe* e, int64_t at) noexcept nogil:
    """An octet of the import directory or the head; NOT_YET, NEVER."""
    cdef int64_t place = at - (e.imports - IMPORTS_BEFORE)
    if at >= PE_HEAD and not 0 <= place < PE_IMPORTS:
        return NEVER
    if at >= e.at:
        e.imports_need = at
        return NOT_YET
    return e.head[at] if at < PE_HEAD else e.around[place]


cdef int number_at(Pe* e, int64_t at, int n, uint64_t* value) noexcept nogil:
    """A number of n octets; 0, NOT_YET or NEVER."""
    cdef int i, octet
    value[0] = 0
    for i in range(n):
        octet = seen(e, at + i)
        if octet < 0:
            return octet
        value[0] |= <uint64_t>octet << (8 * i)
    return 0


cdef int function_at(Pe* e, int64_t at) noexcept nogil:
    """The number of the function whose name stands here; NOT_YET, NEVER (it has none)."""
    cdef int i = 0, k, octet
    cdef const char* name = function_name(0)
    while name != NULL:
        k = 0
        while True:
            octet = seen(e, at + k)
            if octet == NOT_YET:
                return NOT_YET
            if octet != <uint8_t>name[k]:
                break
            if octet == 0:
                return i
            k += 1
        i += 1
        name = function_name(i)
    return NEVER


cdef int functions(Pe* e, int* listed) noexcept nogil:
    """How many functions the first DLL gives; NOT_YET, NEVER (some other than those with a number, or too many)."""
    cdef uint64_t thunks, first, name, value
    cdef int said, n = 0, size = 4 if e.bits == 32 else 8
    cdef int64_t at
    said = min(number_at(e, e.imports, 4, &thunks), number_at(e, e.imports + 16, 4, &first))
    if said == 0:
        said = number_at(e, e.imports + 12, 4, &name)
    if said < 0:
        return said
    if name == 0:
        return NEVER
    at = offset_of(e, <uint32_t>(thunks if thunks else first))
    if at < 0:
        return NEVER
    while True:
        said = number_at(e, at + n * size, size, &value)
        if said < 0:
            return said
        if value == 0:
            return n
        if n == PACKER_NAMES or value > 0x7FFFFFFF or offset_of(e, <uint32_t>value) < 0:
            return NEVER
        listed[n] = function_at(e, offset_of(e, <uint32_t>value) + 2)
        if listed[n] < 0:
            return listed[n]
        n += 1


cdef void imports_look(Pe* e) noexcept nogil:
    cdef int[PACKER_NAMES] listed
    cdef PackerRow* row
    cdef int i, k, n = functions(e, listed)
    if n == NOT_YET:
        return
    e.imports_open = False
    for i in range(packer_rows()):
        row = packer_row(i)
        if row.by != BY_IMPORTS or row.n != n or not holds(e, row.condition):
            continue
        for k in range(n):
            if row.tokens[k] != listed[k]:
                break
        else:
            complete(e, i)


cdef bint holds(Pe* e, int condition) noexcept nogil:
    if condition == IF_NO_CODE:
        return e.no_code
    return e.unpacks and (condition == IF_UNPACKS or (condition == IF_UNPACKS_DLL and e.dll))
