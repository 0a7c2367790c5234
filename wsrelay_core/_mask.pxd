"""What touches every byte of a payload: XOR with the masking key, and UTF-8 validation.

Both go over 8-byte words, loaded and stored with `memcpy` (no alignment is assumed).
"""

from libc.stdint cimport uint64_t
from libc.string cimport memcpy


cdef inline uint64_t mask_word(const unsigned char* key, Py_ssize_t phase) noexcept nogil:
    """The key repeated over one word, beginning at byte `phase` of the key."""
    cdef unsigned char turned[8]
    cdef uint64_t word
    cdef int i
    for i in range(8):
        turned[i] = key[(phase + i) & 3]
    memcpy(&word, turned, 8)
    return word


cdef inline bint mask(
    unsigned char* out,
    const unsigned char* data,
    Py_ssize_t size,
    const unsigned char* key,
    Py_ssize_t phase,
) noexcept nogil:
    """XOR `data` with the key into `out` (RFC 6455 section 5.3); true if the result is all ASCII.

    `phase` is the number of payload bytes of the same frame that came before.
    """
    cdef uint64_t turned = mask_word(key, phase)
    cdef uint64_t word, seen = 0
    cdef Py_ssize_t i = 0
    while i + 8 <= size:
        memcpy(&word, data + i, 8)
        word ^= turned
        seen |= word
        memcpy(out + i, &word, 8)
        i += 8
    while i < size:
        out[i] = data[i] ^ key[(phase + i) & 3]
        seen |= out[i]
        i += 1
    return (seen & <uint64_t>0x8080808080808080) == 0


# Where a text stands between two bytes. All zero: between two characters.
cdef struct Utf8:
    unsigned char due     # continuation bytes that the character still needs
    unsigned char low     # the range that the next of them must be in
    unsigned char high


cdef inline bint utf8_lead(Utf8* state, unsigned char byte) noexcept nogil:
    """First byte of a character: the well-formed sequences of table 3-7 of the Unicode standard."""
    state.low = 0x80
    state.high = 0xBF
    if byte < 0x80:
        state.due = 0
    elif byte < 0xC2:             # a continuation byte, or an overlong form of ASCII
        return False
    elif byte < 0xE0:
        state.due = 1
    elif byte < 0xF0:
        state.due = 2
        if byte == 0xE0:          # below is an overlong form
            state.low = 0xA0
        elif byte == 0xED:        # above are the surrogates
            state.high = 0x9F
    elif byte < 0xF5:
        state.due = 3
        if byte == 0xF0:          # below is an overlong form
            state.low = 0x90
        elif byte == 0xF4:        # above is past U+10FFFF
            state.high = 0x8F
    else:
        return False
    return True


cdef inline bint utf8_feed(
    Utf8* state, const unsigned char* data, Py_ssize_t size
) noexcept nogil:
    """Go on with a text; false at the first byte that no valid text can have there."""
    cdef uint64_t word
    cdef Py_ssize_t i = 0
    while i < size:
        if state.due:
            if data[i] < state.low or data[i] > state.high:
                return False
            state.due -= 1
            state.low = 0x80
            state.high = 0xBF
        elif i + 8 <= size:
            memcpy(&word, data + i, 8)
            if (word & <uint64_t>0x8080808080808080) == 0:
                i += 8
                continue
            if not utf8_lead(state, data[i]):
                return False
        elif not utf8_lead(state, data[i]):
            return False
        i += 1
    return True
