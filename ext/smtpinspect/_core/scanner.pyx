"""A content scanner in Python's hands: for tests, and for whoever has an attachment and no capture."""

from collections import namedtuple

from libc.stdint cimport int64_t, uint8_t, uint32_t

from smtpinspect._core.content cimport (
    Content, content_done, content_end, content_feed, content_free, content_gap, content_limited, content_new,
    content_skip, content_skips,
)
from smtpinspect._core.counted cimport counted_held
from smtpinspect._core.finding cimport Finding

# facts.CONTENT.kind
cdef tuple WORDS = ("zip-encrypted", "ole-vba", "ooxml-vba", "pe-packed", "archive-nested", "scan-limit")
cdef const uint8_t* NOTHING = b""
Found = namedtuple("Found", "kind detail evidence depth name at")


def held():
    """Octets of memory that all scans hold; limits.CONTENT_TOTAL at most."""
    return counted_held()


cdef class Scanner:
    """One attachment, fed in pieces of any size. `wants`: words of facts.CONTENT.kind."""

    cdef Content* content
    cdef int64_t at            # octets that have passed

    def __cinit__(self, wants=WORDS):
        cdef uint32_t bits = 0
        for word in wants:
            bits |= <uint32_t>1 << <int>WORDS.index(word)
        self.content = content_new(bits, NULL)
        if self.content == NULL:
            raise MemoryError("no memory, or limits.CONTENT_TOTAL is reached")

    def __dealloc__(self):
        content_free(self.content)

    cdef object found(self, Finding* f):
        return Found(
            WORDS[f.kind], f.detail.decode(), f.evidence.decode(), f.depth, (<char*>&f.name[0])[:f.name_n], self.at - 1
        )

    def feed(self, const uint8_t[::1] octets not None):
        """What was found, each with the index of the octet that decided, counted from the part's first octet."""
        cdef Py_ssize_t n = octets.shape[0], used = 0, k
        cdef const uint8_t* p = NOTHING
        cdef Finding f
        result = []
        if n:
            p = &octets[0]
        while True:
            with nogil:
                k = content_feed(self.content, p + used, n - used, &f)
            used += k
            self.at += k
            if f.kind < 0:
                return result
            result.append(self.found(&f))

    def end(self):
        """The part is over: what its last octet decided and was not told yet."""
        cdef Finding f
        result = []
        while True:
            content_end(self.content, &f)
            if f.kind < 0:
                return result
            result.append(self.found(&f))

    def skip(self, int64_t n):
        """So many octets have passed unseen. Raises ValueError when it wants to see them."""
        if not 0 <= n <= content_skips(self.content):
            raise ValueError("these octets are wanted")
        content_skip(self.content, n)
        self.at += n

    def gap(self):
        """Octets are missing: nothing more is judged."""
        content_gap(self.content)

    @property
    def skips(self):
        """Octets that need not be fed; 0: the next one is wanted."""
        return content_skips(self.content)

    @property
    def done(self):
        """It needs nothing more of this part."""
        return bool(content_done(self.content))

    @property
    def limited(self):
        """A limit kept it from looking at everything."""
        return bool(content_limited(self.content))
