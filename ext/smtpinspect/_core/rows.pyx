"""Rules as rows: compiled once, evaluated where a fact is born."""

import re

from libc.stdint cimport int16_t, INT64_MAX, INT64_MIN, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from smtpinspect._core.octets cimport lower
from smtpinspect._core.scope cimport Scopes
from smtpinspect._core.span cimport Span
from smtpinspect._core.state cimport CLASSES, COUNTS, Fact

from smtpinspect import facts as _facts
from smtpinspect.errors import UsageError
from smtpinspect.grammar.verbs import NUMBER as _NUMBER
from smtpinspect.grammar.verbs import PARAMETERS as _PARAMETERS
from smtpinspect.grammar.verbs import VERBS as _VERBS

assert len(_facts.KINDS) == F_KINDS and len(_facts.Octets) == CLASSES
assert len(_facts.LINE.fields["where"].words) == WHERES and len(_facts.COUNT.fields["what"].words) == COUNTS

cdef enum:          # Op
    OP_EQ = 0
    OP_NE = 1
    OP_GT = 2
    OP_LT = 3
    OP_IN = 4
    OP_NOT_IN = 5
    OP_FLAGS = 6
    OP_CONTAINS = 7
    OP_VERB = 8                # IN or NOT_IN of a verb's name

# Numbers before texts, and of each the more selective first: most rows fail at their first condition.
_COST = {"flags": 0, "eq": 1, "gt": 2, "lt": 3, "in": 4, "ne": 5, "not_in": 6, "contains": 7, "matches": 8}
assert len(_NUMBER) <= 64
_WITH_PARAMETERS = 1 << _NUMBER[b"MAIL"] | 1 << _NUMBER[b"RCPT"]
_IN_OR_NOT = {"eq": OP_IN, "in": OP_IN, "ne": OP_NOT_IN, "not_in": OP_NOT_IN}

cdef uint64_t ALL = ~<uint64_t>0

_OPS = {
    "eq": OP_EQ, "ne": OP_NE, "gt": OP_GT, "lt": OP_LT, "in": OP_IN,
    "not_in": OP_NOT_IN, "flags": OP_FLAGS, "contains": OP_CONTAINS,
}


cdef bint same_text(Span a, Span b) noexcept nogil:
    """Equal without case; b is lower case already."""
    cdef Py_ssize_t i
    if a.n != b.n:
        return False
    for i in range(a.n):
        if lower(a.p[i]) != b.p[i]:
            return False
    return True


cdef inline bint number_holds(const Condition* c, int64_t v, const Span* sets) noexcept nogil:
    cdef uint32_t i
    if c.op == OP_EQ:
        return v == c.value
    elif c.op == OP_NE:
        return v != c.value
    elif c.op == OP_GT:
        return v > c.value
    elif c.op == OP_LT:
        return v < c.value
    elif c.op == OP_FLAGS:
        return (v & c.value) != 0
    for i in range(c.first, c.first + c.n):
        if sets[i].n == v:
            return c.op == OP_IN
    return c.op == OP_NOT_IN


cdef bint has_text(Span a, Span token) noexcept nogil:
    cdef Py_ssize_t i, j
    if token.n == 0:
        return True
    for i in range(a.n - token.n + 1):
        j = 0
        while j < token.n and lower(a.p[i + j]) == token.p[j]:
            j += 1
        if j == token.n:
            return True
    return False


cdef bint text_holds(const Condition* c, const Fact* fact, const Span* sets) noexcept nogil:
    cdef uint32_t i
    cdef bint wanted = c.op == OP_IN
    if c.op == OP_CONTAINS:
        return has_text(fact.t[c.slot], sets[c.first])
    if c.op == OP_VERB:
        if fact.verb:
            return (c.verbs >> fact.verb) & 1
        wanted = c.value != 0
    for i in range(c.first, c.first + c.n):
        if same_text(fact.t[c.slot], sets[i]):
            return wanted
    return not wanted


cdef inline bint passes(
    const Row* row, const Condition* conditions, const Span* sets, const Fact* fact, uint32_t given,
) noexcept nogil:
    cdef const Condition* c = conditions + row.first
    cdef const Condition* end = c + row.n
    if (row.given & ~given) != 0 or (row.not_given & given) != 0:
        return False
    while c < end:
        if not (text_holds(c, fact, sets) if c.text else number_holds(c, fact.v[c.slot], sets)):
            return False
        c += 1
    return True


def _in_order(when):
    """A pattern's tests, cheapest first; the order changes nothing else."""
    return sorted(when.tests, key=lambda t: (when.kind.fields[t[0]].type == "text", _COST[t[1].op]))


def _verbs_of(values, op):
    """The verbs with which such a test holds, as bits by number; 0 stands for a word that is no verb."""
    named = {bytes(value).lower() for value in values}
    return sum({1 << int(number) for name, number in _NUMBER.items() if (name.lower() in named) == (op == OP_IN)})


def _keywords_of(verbs):
    """The EHLO keywords on which it depends whether these verbs, by number, were advertised."""
    named = {keyword for number, verb in enumerate(_VERBS) if verbs >> number & 1 for keyword in verb.keywords}
    return named | set(_PARAMETERS.values()) if verbs & _WITH_PARAMETERS else named


cdef uint64_t _names_of(values, bint firsts=False) except? 0:
    """By name_bit, or by first_bit."""
    cdef uint64_t found = 0
    cdef bytes name
    for name in values:
        found |= first_bit(name, len(name)) if firsts else name_bit(name, len(name))
    return found


def _kinds_of(test, number):
    """The words of an enumeration that a test lets pass, as bits."""
    named = sum({1 << int(value) for value in test.values})
    return named if test.op in ("eq", "in") else ~named & ((1 << number) - 1)


class Seen:
    """A fact as a Python rule sees it: the fields of its kind as attributes, and its evidence."""

    def __init__(self, kind, values, side, offset, octets, about):
        self.kind = kind
        self.direction = "server" if side else "client"
        self.offset = offset
        self.octets = octets
        self.about = about
        self.__dict__.update(values)

    def __repr__(self):
        inside = ", ".join(f"{k}={v!r}" for k, v in self.__dict__.items() if k not in ("kind", "about"))
        return f"{self.kind}({inside})"


cdef class Program:
    def __cinit__(self):
        self.rows = NULL
        self.conditions = NULL
        self.sets = NULL

    def __init__(self, inspectors):
        """`inspectors` holds (label, object with the methods, rows, counts in verdicts, profile) in order."""
        cdef int number = 0
        cdef int slot
        cdef uint32_t ncond = 0, nset = 0
        cdef Row* row
        cdef Condition* cond
        cdef bytes value
        rows = [(i, rule) for i, (_, _, table, _, _) in enumerate(inspectors) for rule in table]
        self.table = tuple(rule for _, rule in rows)
        self.labels = tuple(label for label, _, _, _, _ in inspectors)
        self.profiles = tuple(profile for _, _, _, _, profile in inspectors)
        self.gids = tuple(made.gid for _, made, _, _, _ in inspectors)
        self.judged = tuple(counts for _, _, _, counts, _ in inspectors)
        self.ninspectors = len(inspectors)
        self.scopes = Scopes([made.scope(made.settings) for _, made, _, _, _ in inspectors])
        self.nrows = len(rows)
        ids = {}
        same = {}
        groups = {}
        self._kept = []
        self.methods = {}
        self.regexes = {}
        total = sum(len(rule.when.tests) for rule in self.table)
        values = sum(len(t.values) for rule in self.table for _, t in rule.when.tests)
        self.rows = <Row*>calloc(max(1, self.nrows), sizeof(Row))
        self.conditions = <Condition*>calloc(max(1, total), sizeof(Condition))
        self.sets = <Span*>calloc(max(1, values), sizeof(Span))
        if self.rows == NULL or self.conditions == NULL or self.sets == NULL:
            raise MemoryError
        by_kind = [[] for _ in range(F_KINDS)]
        lines = [[] for _ in range(WHERES)]
        counts = [[] for _ in range(COUNTS)]
        for number, (inspector, rule) in enumerate(rows):
            row = &self.rows[number]
            when = rule.when
            row.kind = when.kind.number
            row.given = int(when.given)
            row.not_given = int(when.not_given)
            row.rule = ids.setdefault((inspector, rule.id), len(ids))
            row.same = same.setdefault((inspector, rule.id, rule.detail), len(same))
            row.inspector = inspector
            row.group = groups.setdefault((inspector, rule.first_of), len(groups)) if rule.first_of else -1
            row.strength = int(rule.action.strength)
            row.breaks = rule.breaks or rule.action.breaks
            row.seen = rule.kind == "seen" or not inspectors[inspector][3]
            row.method = bool(rule.method)
            row.first = ncond
            if rule.method:
                self.methods[number] = getattr(inspectors[inspector][1], rule.method)
            self._want(row.kind, rule)
            if row.kind == F_PART:
                texts = [when.kind.fields[name] for name, _ in when.tests]
                row.about = max([f.slot + 1 for f in texts if f.type == "text" and f.slot < 2], default=0)
            kinds = (1 << len(_facts.CONTENT.fields["kind"].words)) - 1 if row.kind == F_CONTENT else 0
            limit = None
            wheres = range(WHERES if row.kind == F_LINE else COUNTS)
            for name, test in _in_order(when):
                field = when.kind.fields[name]
                if row.kind == F_LINE and name in ("length", "wire_length") and test.op == "gt":
                    limit = (test.values[0], name == "wire_length")
                    continue
                if row.kind == F_CONTENT and name == "kind":
                    kinds &= _kinds_of(test, len(field.words))
                if row.kind == F_COUNT and name == "value" and test.op == "gt":
                    limit = (test.values[0], False)
                    continue
                if name in ("where", "what") and test.op in ("eq", "in"):
                    wheres = test.values
                    continue
                if test.op == "matches":
                    self.regexes.setdefault(number, []).append((name, re.compile(test.values[0], re.IGNORECASE)))
                    row.method = True
                    continue
                cond = &self.conditions[ncond]
                ncond += 1
                row.n += 1
                cond.op = _OPS[test.op]
                cond.slot = field.slot
                cond.text = field.type == "text"
                if cond.text:
                    cond.first = nset
                    cond.n = len(test.values)
                    for each in test.values:
                        value = bytes(each).lower()
                        self._kept.append(value)
                        self.sets[nset].p = <const uint8_t*><const char*>value
                        self.sets[nset].n = len(value)
                        nset += 1
                    if test.op == "eq":
                        cond.op = OP_IN
                    elif test.op == "ne":
                        cond.op = OP_NOT_IN
                    if name == "verb" and cond.op != OP_CONTAINS:
                        cond.value = cond.op == OP_IN
                        cond.verbs = _verbs_of(test.values, cond.op)
                        cond.op = OP_VERB
                elif test.op in ("in", "not_in"):
                    cond.first = nset
                    cond.n = len(test.values)
                    for each in test.values:
                        self.sets[nset].n = int(each)
                        nset += 1
                else:
                    cond.value = int(test.values[0])
            self.wants_content |= kinds
            if row.kind in (F_LINE, F_COUNT):
                if limit is None:
                    raise TypeError(f"{rule.id}: a {when.kind.name} rule needs a limit, gt(...)")
                for where in wheres:
                    (lines if row.kind == F_LINE else counts)[where].append((limit[0], limit[1], number))
            else:
                by_kind[row.kind].append(number)
        self.rules = tuple(rule_id for _, rule_id in ids)
        self.nrules = len(ids)
        for slot in range(F_KINDS):
            if len(by_kind[slot]) > MOST:
                raise UsageError(f"more than {MOST} rows want {_facts.KINDS[slot].name} facts: use fewer inspectors")
            self.n_of_kind[slot] = len(by_kind[slot])
            self.of_kind[slot] = <Guard*>calloc(max(1, len(by_kind[slot])), sizeof(Guard))
            if self.of_kind[slot] == NULL:
                raise MemoryError
            for i, number in enumerate(by_kind[slot]):
                self._guard(&self.of_kind[slot][i], number)
        if max(map(len, lines + counts)) > MOST_LIMITS:
            raise UsageError(f"more than {MOST_LIMITS} limits of one kind: use fewer rules")
        for slot in range(WHERES):
            self._fill(&self.lines[slot], lines[slot])
        for slot in range(COUNTS):
            self._fill(&self.counts[slot], counts[slot])

    cdef int _want(self, int kind, object rule) except -1:
        """What of this kind of fact a row can need; the rest is not even filled in."""
        tests = dict(rule.when.tests)
        cdef uint64_t names = ALL, firsts = ALL, verbs = ALL
        asked = sum([int(test.values[0]) for test in tests.values() if test.op == "flags"])
        if "name" in tests and tests["name"].op in ("eq", "in"):
            names = _names_of(tests["name"].values)
            firsts = _names_of(tests["name"].values, True)
        if kind == F_FIELD and (rule.method or "value" in tests):
            self.values_wanted |= names
        if kind == F_FIELD and asked:
            names = 0
        self.names_wanted[kind] |= names
        self.flags_wanted[kind] |= <uint64_t>(asked or (0 if kind == F_FIELD else UNFLAGGED))
        if kind == F_COMMAND and (rule.method or "advertised" in tests):
            if "known" in tests and tests["known"] == ("eq", (0,)):
                verbs = 1
            elif "verb" in tests and tests["verb"].op in _IN_OR_NOT:
                # (a word that is no verb is compared later)
                verbs = _verbs_of(tests["verb"].values, _IN_OR_NOT[tests["verb"].op]) | 1
            self.verbs_advertised |= verbs
            self.offers_wanted |= _names_of(_keywords_of(verbs))
            self.firsts_wanted |= _names_of(_keywords_of(verbs), True)
        elif kind == F_KEYWORD:
            self.firsts_wanted |= firsts
        return 0

    def wants(self, int kind, bytes name):
        """May a row fire for a Field or a Keyword of this name that holds nothing remarkable?"""
        return (self.names_wanted[kind] & name_bit(name, len(name))) != 0

    cdef void _guard(self, Guard* guard, int number) noexcept:
        cdef Row* row = &self.rows[number]
        cdef Condition* c
        cdef uint32_t i, k
        cdef int64_t most = INT64_MAX
        guard.row = <int16_t>number
        guard.least = INT64_MIN
        guard.verbs = ~<uint64_t>0
        for i in range(row.first + row.n, row.first, -1):
            # the first condition on a number counts: it is the most selective
            c = &self.conditions[i - 1]
            if c.text:
                if c.op == OP_VERB:
                    guard.verbs = c.verbs | 1
                continue
            if c.op == OP_EQ:
                guard.least = most = c.value
            elif c.op == OP_GT and c.value < INT64_MAX:
                guard.least = c.value + 1
                most = INT64_MAX
            elif c.op == OP_IN and c.n:
                guard.least = most = self.sets[c.first].n
                for k in range(c.first, c.first + c.n):
                    guard.least = min(guard.least, self.sets[k].n)
                    most = max(most, self.sets[k].n)
            else:
                continue
            guard.slot = c.slot
        guard.width = <uint64_t>most - <uint64_t>guard.least

    cdef int _fill(self, Limits* limits, list found) except -1:
        limits.n = len(found)
        limits.at = <Limit*>calloc(max(1, limits.n), sizeof(Limit))
        if limits.at == NULL:
            raise MemoryError
        # by the first octet that can decide: sorted so that a line passes its limits in order
        for i, (limit, wire, number) in enumerate(sorted(found)):
            limits.at[i].limit = limit
            limits.at[i].wire = wire
            limits.at[i].row = number
        return 0

    def __dealloc__(self):
        cdef int i
        for i in range(F_KINDS):
            free(self.of_kind[i])
        for i in range(WHERES):
            free(self.lines[i].at)
        for i in range(COUNTS):
            free(self.counts[i].at)
        free(self.rows)
        free(self.conditions)
        free(self.sets)

    cdef void _place(self, int number, const Fact* fact, Fired* out) noexcept nogil:
        """The octet that decides this row."""
        cdef Row* row = &self.rows[number]
        cdef Condition* c
        cdef uint32_t i
        cdef int bit
        out.row = <int16_t>number
        out.offset = fact.offset
        out.packet = fact.packet
        if row.kind == F_FIELD or row.kind == F_PATH:
            # the first octet that set one of the flags asked for decides
            for i in range(row.first, row.first + row.n):
                c = &self.conditions[i]
                if c.op != OP_FLAGS or c.text:
                    continue
                out.offset = -1
                for bit in range(CLASSES):
                    if (c.value >> bit) & 1 and (fact.v[c.slot] >> bit) & 1:
                        if out.offset < 0 or fact.flag_at[bit] < out.offset:
                            out.offset = fact.flag_at[bit]
                            out.packet = fact.flag_packet[bit]
        if row.about:
            out.offset = fact.flag_at[row.about - 1]
            out.packet = fact.flag_packet[row.about - 1]
        elif row.kind == F_PATH or row.kind == F_PART:
            # a length decides at its limit + 1, counted from the first octet
            for i in range(row.first, row.first + row.n):
                c = &self.conditions[i]
                if c.op == OP_GT and not c.text and c.slot == 1:
                    out.offset += c.value

    cdef bint holds(self, int number, const Fact* fact, uint32_t given, Fired* out) noexcept nogil:
        if not passes(&self.rows[number], self.conditions, self.sets, fact, given):
            return False
        self._place(number, fact, out)
        return True

    cdef int match(self, const Fact* fact, uint32_t given, Fired* out) noexcept nogil:
        cdef Guard* at = self.of_kind[fact.kind] - 1
        cdef Guard* end = at + self.n_of_kind[fact.kind]
        cdef int j, n = 0
        cdef bint known
        cdef Row* row
        while at < end:
            at += 1
            if (<uint64_t>fact.v[at.slot] - <uint64_t>at.least > at.width
                    or not (at.verbs >> fact.verb) & 1):
                continue
            row = &self.rows[at.row]
            if not passes(row, self.conditions, self.sets, fact, given):
                continue
            known = False
            if row.group >= 0:
                for j in range(n):
                    if self.rows[out[j].row].group == row.group:
                        known = True
            if known:
                continue
            self._place(<int>(row - self.rows), fact, &out[n])
            # rows of one id and detail are alternatives: the earliest octet counts
            for j in range(n):
                if self.rows[out[j].row].same == row.same:
                    known = True
                    if out[n].offset < out[j].offset:
                        out[j] = out[n]
            if not known:
                n += 1
        return n

    cdef int ask(self, int number, Fact* fact, object about) except -2:
        kind = _facts.KINDS[fact.kind]
        values = {}
        for name, field in kind.fields.items():
            if field.type == "text":
                if fact.t[field.slot].p == NULL:
                    values[name] = b""
                else:
                    values[name] = (<const char*>fact.t[field.slot].p)[:fact.t[field.slot].n]
            elif field.type == "enum":
                values[name] = field.words[fact.v[field.slot]]
            else:
                values[name] = fact.v[field.slot]
        for name, regex in self.regexes.get(number, ()):
            if not regex.search(values[name]):
                return -1
        if number not in self.methods:
            return self.rows[number].strength
        octets = (<const char*>fact.octets.p)[:fact.octets.n] if fact.octets.p != NULL else b""
        action = self.methods[number](Seen(kind.name, values, fact.side, fact.offset, octets, about))
        return -1 if action is None else int(action.strength)
