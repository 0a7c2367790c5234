"""Messages, the ring they wait in, and the marks that tell when it is too full."""

from asyncio import _get_running_loop

from wsrelay_core._errors import WrongThread, WSRelayError

cimport cython

cdef Py_ssize_t FIRST_CAPACITY = 8
cdef Py_ssize_t KEPT_CAPACITY = 64        # an empty ring larger than this is given back
cdef Py_ssize_t HIGH_COUNT = 1024         # rule 5 of the process semantics
cdef Py_ssize_t HIGH_SIZE = 8 * 1024 * 1024
cdef Py_ssize_t SHOWN = 60                # characters of a payload in a repr


@cython.final
@cython.freelist(256)
cdef class Message:
    """One message in an inbox: `topic`, `payload`, `sender`, and `reply()` for calls."""

    def reply(self, value) -> bool:
        """Answer the `call` that sent this message; returns whether the caller still waits.

        Raises:
            WSRelayError: the message is no call.
            WrongThread: called from another thread than the one that runs the loop.
        """
        if self.reply_to is None:
            raise WSRelayError(f"message {self.topic!r} is no call: nobody waits for a reply")
        if self.reply_to is False:
            return False
        if self.reply_to.get_loop() is not _get_running_loop():
            raise WrongThread("reply in the thread of the App's loop")
        future, self.reply_to = self.reply_to, False
        if future.done():
            return False
        future.set_result(value)
        return True

    def __repr__(self):
        return f"<Message {self.topic!r} {short(self.payload)} from {self.sender or 'outside'}>"


cdef str short(object payload):
    """A payload in a few characters, even a huge one, and one whose own repr fails."""
    cut = payload[:SHOWN] if isinstance(payload, (str, bytes)) else payload
    try:
        text = repr(cut)
    except Exception:
        return f"<{type(payload).__name__}, whose repr fails>"
    return text if len(text) <= SHOWN and cut is payload else text[:SHOWN - 1] + "…"


cdef class Waiter:
    cdef int wake(self) except -1:
        return 0


@cython.final
@cython.freelist(64)
cdef class Meter:
    def __cinit__(self):
        self.high_count = HIGH_COUNT
        self.high_size = HIGH_SIZE

    cdef bint is_high(self) noexcept:
        return self.count >= self.high_count or self.size >= self.high_size

    cdef bint is_low(self) noexcept:
        return self.count * 2 < self.high_count and self.size * 2 < self.high_size

    cdef int set_limit(self, Py_ssize_t limit) except -1:
        """Bound the number of messages; the high-water mark is then half of it."""
        self.limit = limit
        self.high_count = min(HIGH_COUNT, max(1, limit // 2)) if limit else HIGH_COUNT
        return 0


cdef class Mailbox:
    cdef int put(self, object item) except -1:
        """Append an item and wake who waits for it."""
        cdef Py_ssize_t capacity
        if self.ring is None:
            self.ring = [None] * FIRST_CAPACITY
        capacity = len(self.ring)
        if self.count == capacity:
            self.grow()
            capacity *= 2
        self.ring[(self.head + self.count) & (capacity - 1)] = item
        self.count += 1
        if self.meter is not None:
            self.meter.count += 1
            if type(item) is Message:
                self.meter.size += (<Message>item).size
        if self.selective is not None:
            for waiter in list(self.selective):
                (<Waiter>waiter).wake()
        if self.first is not None:
            self.wake_first()
        return 0

    cdef int grow(self) except -1:
        self.ring = self.ring[self.head:] + self.ring[:self.head] + [None] * len(self.ring)
        self.head = 0
        return 0

    cdef object take(self):
        """Remove and return the oldest item; there must be one."""
        cdef object item = self.ring[self.head]
        self.ring[self.head] = None
        self.head = (self.head + 1) & (len(self.ring) - 1)
        self.removed(item)
        return item

    cdef object peek(self, Py_ssize_t index):
        return self.ring[(self.head + index) & (len(self.ring) - 1)]

    cdef object take_at(self, Py_ssize_t index):
        """Remove and return one item from the middle; the others keep their order."""
        cdef Py_ssize_t mask = len(self.ring) - 1
        cdef object item = self.ring[(self.head + index) & mask]
        while index > 0:
            self.ring[(self.head + index) & mask] = self.ring[(self.head + index - 1) & mask]
            index -= 1
        self.ring[self.head] = None
        self.head = (self.head + 1) & mask
        self.removed(item)
        return item

    cdef int removed(self, object item) except -1:
        self.count -= 1
        if self.count == 0 and len(self.ring) > KEPT_CAPACITY:
            self.ring = None
            self.head = 0
        if self.meter is not None:
            self.meter.count -= 1
            self.meter.handled += 1
            if type(item) is Message:
                self.meter.size -= (<Message>item).size
            if self.meter.gate is not None and self.meter.is_low():
                self.meter.gate.open()
        return 0

    cdef int discard(self) except -1:
        ring, self.ring = self.ring, None
        if self.meter is not None:
            self.meter.count -= self.count
            for item in ring or ():
                if type(item) is Message:
                    self.meter.size -= (<Message>item).size
        self.count = 0
        self.head = 0
        return 0

    cdef int add_waiter(self, Waiter waiter, bint in_front) except -1:
        if self.first is None:
            self.first = waiter
        elif in_front:
            if self.more is None:
                self.more = []
            self.more.insert(0, self.first)
            self.first = waiter
        elif self.more is None:
            self.more = [waiter]
        else:
            self.more.append(waiter)
        return 0

    cdef int remove_waiter(self, Waiter waiter) except -1:
        """Forget a waiter that was not woken by this mailbox."""
        if self.first is waiter:
            self.shift()
        elif self.more is not None and waiter in self.more:
            self.more.remove(waiter)
            if not self.more:
                self.more = None
        return 0

    cdef int shift(self) except -1:
        self.first = None
        if self.more is not None:
            self.first = self.more.pop(0)
            if not self.more:
                self.more = None
        return 0

    cdef int settle(self, Waiter waiter) except -1:
        """A woken waiter has run (or gave up): its item is free again for whoever comes first."""
        waiter.reserved_in = None
        self.reserved -= 1
        return 0

    cdef int wake_first(self) except -1:
        """Wake the first waiter and keep an item for it, if there is a free one."""
        cdef Waiter waiter
        while self.first is not None and self.count > self.reserved:
            waiter = self.first
            self.shift()
            if waiter.reserved_in is None:  # else it has its item: in another box of a select
                self.reserved += 1
                waiter.reserved_in = self
                waiter.wake()
                return 0
        return 0

    cdef int pour_into(self, Mailbox other) except -1:
        """Move everything to the end of another mailbox of the same meter."""
        cdef Meter meter = self.meter
        self.meter = other.meter = None  # neither taken nor new: only moved
        try:
            while self.count:
                other.put(self.take())
        finally:
            self.meter = other.meter = meter
        return 0

    cdef int shut(self, bint discard) except -1:
        """Accept nothing more; wake everybody. With `discard` what is in it is dropped."""
        cdef Waiter waiter
        self.closed = True
        if discard:
            self.discard()
        while self.first is not None:
            waiter = self.first
            self.shift()
            waiter.wake()
        if self.selective is not None:
            for other in list(self.selective):
                (<Waiter>other).wake()
        return 0
