"""grammar.packers as C arrays: packed once, when this is imported."""

import re as _re

from libc.stdint cimport uint8_t
from libc.string cimport memcmp, strlen

from smtpinspect.grammar import limits as _limits
from smtpinspect.grammar import packers as _packers

assert _limits.PACKER_ROWS == PACKER_ROWS and _limits.PACKER_PATTERN == PACKER_PATTERN

ctypedef const char* Text

cdef PackerRow[PACKER_ROWS] ROWS
cdef int rows_n = 0
cdef int last_marker = 0
cdef int[PACKER_ROWS] MARKERS
cdef int markers_n = 0
cdef Text[PACKER_NAMES] SECTION_NAMES
cdef Text[PACKER_NAMES + 1] FUNCTION_NAMES
cdef int section_names_n = 0

_words = {}                    # what the C strings point into
_TOKEN = _re.compile(r"[0-9A-F]{2}|\.\.|##|'[^']*'|rel8|rel32|abs32|\S")
_MARKS = {f"{octet:02X}": octet for octet in range(256)}
_MARKS |= {"..": T_ANY, "##": T_DIGIT, "rel8": T_REL8, "rel32": T_REL32, "abs32": T_ABS32}


def _tokens(pattern):
    made = []
    for word in _TOKEN.findall(pattern):
        if word[0] == "'":
            made += word[1:-1].encode("ascii")
        else:
            made.append(_MARKS[word])
    return made


cdef const char* kept(str word) except NULL:
    octets = _words.setdefault(word, word.encode("ascii"))
    return octets


def _pack():
    global rows_n, last_marker, markers_n, section_names_n
    cdef PackerRow* row
    evidences = ["section", "marker", "entry point", "imports"]
    conditions = ["", "unpacks", "unpacks, DLL", "no code"]
    groups = ["documented", "optional"]
    sections, functions = [], []
    assert len(_packers.ROWS) <= PACKER_ROWS
    for told in _packers.ROWS:
        row = &ROWS[rows_n]
        rows_n += 1
        row.packer = kept(told.packer)
        row.evidence = kept(told.evidence)
        row.group = groups.index(told.group)
        row.by = evidences.index(told.evidence)
        row.bits = told.bits
        row.condition = conditions.index(told.condition)
        row.first = told.first
        row.within = told.within
        row.names = 0
        row.n = 0
        if row.by == BY_SECTION:
            for name in told.pattern.split():
                if name not in sections:
                    sections.append(name)
                row.names |= 1 << sections.index(name)
            continue
        if row.by == BY_IMPORTS:
            listed = told.pattern.split()
            functions += [name for name in listed if name not in functions]
            tokens = [functions.index(name) for name in listed]
        else:
            tokens = _tokens(told.pattern)
        assert 0 < len(tokens) <= PACKER_PATTERN
        for place, token in enumerate(tokens):
            row.tokens[place] = token
        row.n = len(tokens)
        if row.by == BY_MARKER:
            last_marker = max(last_marker, told.within)
            MARKERS[markers_n] = rows_n - 1
            markers_n += 1
    assert max(len(sections), len(functions)) <= PACKER_NAMES
    section_names_n = len(sections)
    for place, name in enumerate(sections):
        SECTION_NAMES[place] = kept(name)
    for place in range(PACKER_NAMES + 1):
        FUNCTION_NAMES[place] = kept(functions[place]) if place < len(functions) else NULL


_pack()


cdef PackerRow* packer_row(int number) noexcept nogil:
    return &ROWS[number]


cdef int packer_rows() noexcept nogil:
    return rows_n


cdef int marker_row(int place) noexcept nogil:
    return MARKERS[place] if place < markers_n else -1


cdef int markers_end() noexcept nogil:
    return last_marker


cdef int section_name(const uint8_t* p, int n) noexcept nogil:
    cdef int i
    for i in range(section_names_n):
        if strlen(SECTION_NAMES[i]) == <size_t>n and memcmp(p, SECTION_NAMES[i], n) == 0:
            return i
    return -1


cdef const char* function_name(int number) noexcept nogil:
    return FUNCTION_NAMES[number]
