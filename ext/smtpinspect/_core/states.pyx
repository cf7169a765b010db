"""grammar.states as numbers, and its table as C arrays: packed once, when this is imported."""

from libc.stdint cimport uint8_t

from smtpinspect.grammar import states as _states

cdef uint8_t[STATES][EVENTS] NEXT
cdef uint8_t[STATES][EVENTS] ACTION


def _pack():
    states, events, actions = list(_states.STATES), list(_states.EVENTS), list(_states.ACTIONS)
    assert len(states) == STATES and len(events) == EVENTS and len(actions) == ACTIONS
    for (state, event), (after, action) in _states.table().items():
        NEXT[states.index(state)][events.index(event)] = states.index(after)
        ACTION[states.index(state)][events.index(event)] = actions.index(action)


_pack()


cdef int next_state(int state, int event) noexcept nogil:
    return NEXT[state][event]


cdef int action_of(int state, int event) noexcept nogil:
    return ACTION[state][event]
