"""Processes that have mailboxes: the inbox, inboxes of single topics, and the events."""

from wsrelay_core._inbox cimport Inbox
from wsrelay_core._mailbox cimport EMPTY_HAND, Mail, drop_mail, new_message
from wsrelay_core._pid cimport PID
from wsrelay_core._process cimport Event, Process, Ref, Shared
from wsrelay_core._hand cimport HandProcess
from wsrelay_core._slots cimport take_object


cdef inline Inbox open_box(MailProcess process, str topic, bint always):
    """Where a message goes; None when that is closed or full, or the process has ended."""
    cdef Inbox box = process.box if process.topics is None else process.box_of(topic)
    if process.meter.hand == EMPTY_HAND:
        box.settle_hand()
    if box is None:
        if not process.alive:
            return None
        box = process.first_inbox()
    if box.closed or (process.meter.limit and process.meter.count >= process.meter.limit
                      and not always):
        process.meter.dropped += 1
        return None
    return box


cdef inline bint put_in_box(MailProcess process, str topic, object payload, PID sender,
                            Py_ssize_t size, bint always) except -1:
    cdef Inbox box
    if process.meter.hand == EMPTY_HAND:
        process.put_in_hand(topic, payload, sender, size)
        return True
    box = open_box(process, topic, always)
    if box is None:
        return False
    box.put_message(topic, payload, sender, size)
    return True


cdef class MailProcess(HandProcess):
    """A process that has inboxes."""

    @property
    def mailbox_max(self) -> int:
        """How many messages may wait in all inboxes together; 0: no bound."""
        return self.meter.limit

    cdef bint deliver(self, str topic, object payload, Py_ssize_t many, PID sender,
                      Shared shared) except -1:
        return put_in_box(self, topic, payload, sender, 0, False)

    cdef bint post(self, str topic, object payload, PID sender, Py_ssize_t size,
                   bint always) except -1:
        """Put a message into its box; with `always` a full mailbox takes it too."""
        return put_in_box(self, topic, payload, sender, size, always)

    def ask(self, str topic, payload, sender, future) -> bool:
        """Deliver a message whose `reply` resolves `future`."""
        cdef Inbox box = open_box(self, topic, False)
        if box is None:
            return False
        message = new_message(topic, payload, sender)
        message.reply_to = future
        box.put(message)
        return True

    cdef Inbox box_of(self, str topic):
        return self.topics.get(topic, self.box)

    cdef Inbox new_inbox(self):
        cdef Inbox box = Inbox.__new__(Inbox)
        box.owner = self
        box.meter = &self.meter
        return box

    cdef Inbox first_inbox(self):
        self.box = self.new_inbox()
        self.box.takes_all = self.topics is None
        return self.box

    cdef int deliver_event(self, Event event) except -1:
        cdef Inbox box = self.event_box
        if box is None:
            box = self.new_event_box()
        if not box.closed:
            box.put(event)
        return 0

    cdef Inbox new_event_box(self):
        self.event_box = Inbox.__new__(Inbox)
        self.event_box.owner = self
        return self.event_box

    def inbox(self) -> Inbox:
        """The one inbox of this process."""
        return self.first_inbox() if self.box is None else self.box

    def events(self) -> Inbox:
        """The inbox of EXIT, LINK_DOWN and CANCEL; from now on a cancel comes as an event."""
        if self.event_box is None:
            self.new_event_box()
        self.event_box.opened = True
        return self.event_box

    def forget_events(self, ref_or_dest) -> None:
        """Take the EXIT events of a given-up monitor, or of all on a PID, out of the events."""
        cdef Py_ssize_t index = 0
        if self.event_box is None:
            return
        while index < self.event_box.count:
            ref = (<Event>self.event_box.peek(index)).ref
            if ref is not None and (ref is ref_or_dest or (<Ref>ref).is_of(ref_or_dest)):
                take_object(self.event_box.take_at(index))
            else:
                index += 1

    def listen(self, str topic) -> Inbox:
        """From now on messages of exactly this topic go to an inbox of their own."""
        if self.topics is None:
            self.topics = {}
        if topic not in self.topics:
            (<Inbox>self.inbox()).stop_taking_all()
            self.topics[topic] = self.new_inbox()
        return self.topics[topic]

    def unlisten(self, str topic) -> None:
        """End `listen`; what waits there goes to the end of the inbox."""
        cdef Inbox box
        if self.topics is None or topic not in self.topics:
            return
        box = self.topics.pop(topic)
        if not self.topics:
            self.topics = None
            self.box.takes_all = True
        box.pour_into(self.box)
        box.shut(False)

    def set_mailbox_max(self, Py_ssize_t limit) -> None:
        """Bound the number of messages that wait in all inboxes together; 0: no bound."""
        self.meter.limit = limit

    cdef int shut_boxes(self) except -1:
        """The process has ended: whoever waits sees the end, and what waited is dropped."""
        cdef Inbox box = self.box, event_box = self.event_box
        cdef dict topics = self.topics
        cdef Mail mail
        cdef bint full
        self.set_gate(None)
        self.box = self.event_box = self.topics = None
        if self.meter.hand == EMPTY_HAND:
            box.settle_hand()
        full = self.empty_hand(&mail)
        try:
            shut_box(box)
            shut_box(event_box)
            if topics is not None:
                for other in topics.values():
                    shut_box(<Inbox>other)
        finally:
            if full:
                drop_mail(&mail)  # last, as it may have a finalizer, which may run any code
        return 0

    def describe(self) -> dict:
        cdef dict info = Process.describe(self)
        info["queue_length"] = self.meter.count
        info["queue_bytes"] = self.meter.size
        info["handled"] = self.meter.handled
        info["dropped"] = self.meter.dropped
        return info


cdef int shut_box(Inbox box) except -1:
    if box is not None:
        box.shut(True)
        box.spare = None
    return 0
