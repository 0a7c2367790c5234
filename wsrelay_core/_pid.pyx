"""PIDs and the table that finds a process by its PID or its name."""

import os
import time

from wsrelay_core._errors import InvalidPID, NameTaken

cimport cython
from cpython.unicode cimport PyUnicode_FromObject

# The name by which a node means itself; `{this@host|uniq}` and `{host|uniq}` are one PID.
cdef str THIS_NODE = "this"

# Start of every `uniq` of this boot: 13 digits of microseconds since 1970 and 8 random digits, so
# that a PID of an earlier boot, of another node or of a forked child can never come again.
cdef str incarnation = ""
cdef unsigned long long serial = 0

# Host -> what its PIDs of this boot begin with.
cdef dict prefixes = {}
cdef Py_ssize_t MOST_PREFIXES = 256

cdef const char* HEX = b"0123456789abcdef"
cdef enum:
    TAIL = 17  # the longest serial number in hex, and the brace


def _new_incarnation() -> None:
    """Begin a new boot: at import, and in a forked child."""
    global incarnation, serial
    incarnation = f"{time.time_ns() // 1000:013x}{os.urandom(4).hex()}"
    serial = 0
    prefixes.clear()


_new_incarnation()
os.register_at_fork(after_in_child=_new_incarnation)


cdef extern from *:
    """
    /* A text and some ASCII behind it, in one allocation. */
    static PyObject* wsrelay_join_ascii(PyObject* text, const char* tail, Py_ssize_t size) {
        Py_ssize_t length = PyUnicode_GET_LENGTH(text);
        PyObject* joined = PyUnicode_New(length + size, PyUnicode_MAX_CHAR_VALUE(text));
        if (joined == NULL) return NULL;
        if (PyUnicode_IS_ASCII(text)) {
            char* data = (char*) PyUnicode_DATA(joined);
            memcpy(data, PyUnicode_DATA(text), length);
            memcpy(data + length, tail, size);
            return joined;
        }
        if (PyUnicode_CopyCharacters(joined, 0, text, 0, length) < 0) {
            Py_DECREF(joined);
            return NULL;
        }
        for (Py_ssize_t index = 0; index < size; index++)
            PyUnicode_WRITE(PyUnicode_KIND(joined), PyUnicode_DATA(joined), length + index,
                            (unsigned char) tail[index]);
        return joined;
    }
    """
    str join_ascii "wsrelay_join_ascii"(str text, const char* tail, Py_ssize_t size)


@cython.final
cdef class PID(str):
    """The address of a process: text that knows its process.

    Equal to its text and hashed like it, so it is a dict key, a JSON value and log text as it is
    (`orjson` needs `OPT_NON_STR_KEYS` for it as a dict *key*). `PID(text)` makes one without any
    check; use `PID.parse` for text from outside.
    """

    def __reduce__(self):
        # Without this, copy and pickle would look for constructor arguments and lose the text.
        return PID, (str.__str__(self),)

    def __repr__(self):
        return f"PID({str.__str__(self)!r})"

    @property
    def node(self) -> str:
        """Name of the node; empty for this node."""
        return self.partition("|")[0].rpartition("@")[0][1:]

    @property
    def host(self) -> str:
        """Registry id of the process host or server, such as `app:processes`."""
        place = self.partition("|")[0]
        return place.rpartition("@")[2] if "@" in place else place[1:]

    @property
    def uniq(self) -> str:
        """`0x` and lower-case hex: the boot incarnation and a serial number."""
        return self.partition("|")[2].removesuffix("}")

    @staticmethod
    def parse(text) -> PID:
        """Read a PID from text: `{host|uniq}` or `{node@host|uniq}`.

        An empty node, and `this`, mean this node: `{this@h|x}` becomes `{h|x}`. A `PID` is
        returned as it is, with the process it knows.

        Raises:
            InvalidPID: `missing braces`, `missing pipe` or `empty part`.
            TypeError: `text` is no `str`.
        """
        if isinstance(text, PID):
            return text
        if not isinstance(text, str):
            raise TypeError(f"a PID is a str, not {type(text).__name__}")
        return PID(_canonical(PyUnicode_FromObject(text)))


cdef str _canonical(str text):
    """The text with this node's name left out; raises InvalidPID."""
    if len(text) < 2 or text[0] != "{" or text[len(text) - 1] != "}":
        raise _invalid("missing braces", text)
    place, pipe, uniq = text[1:len(text) - 1].partition("|")
    if not pipe:
        raise _invalid("missing pipe", text)
    node, at, host = place.rpartition("@")
    if not host or not uniq:
        raise _invalid("empty part", text)
    if not at:
        return text
    if node == "" or node == THIS_NODE:
        return "{" + host + "|" + uniq + "}"
    return text


cdef object _invalid(str rule, str text):
    if len(text) > 80:
        text = text[:80] + "…"
    return InvalidPID(f"{rule} in {text!r}: a PID is {{host|uniq}} or {{node@host|uniq}}")


cdef bint is_pid_shaped(str text) except -1:
    """Whether text claims to be a PID; all other text is a registered name."""
    return text != "" and (text[0] == "{" or text[len(text) - 1] == "}")


cdef PID new_pid(str host):
    """A PID that never was before, on `host`."""
    return PID.__new__(PID, new_text(host))


cdef str new_text(str host):
    """The text of a PID that never was before, as a plain `str`."""
    global serial
    cdef char tail[TAIL]
    cdef Py_ssize_t start = TAIL - 1
    cdef unsigned long long number
    serial += 1
    number = serial
    tail[start] = b"}"
    while number:
        start -= 1
        tail[start] = HEX[number & 15]
        number >>= 4
    return join_ascii(prefix_of(host), &tail[start], TAIL - start)


cdef str prefix_of(str host):
    found = prefixes.get(host)
    if found is not None:
        return <str>found
    if len(prefixes) >= MOST_PREFIXES:
        prefixes.clear()
    prefix = prefixes[host] = f"{{{host}|0x{incarnation}"
    return prefix


cdef object plain_dest(object dest):
    """What a call was given as destination, checked: a PID (of this node's form), or a name.

    Raises InvalidPID for malformed text that is PID-shaped, TypeError for anything but str.
    """
    if type(dest) is PID:
        return dest
    if not isinstance(dest, str):
        raise TypeError(f"a destination is a PID or a registered name, "
                        f"not {type(dest).__name__}")
    # Of a subclass the text itself: str() of an enum's member is its name.
    text = PyUnicode_FromObject(dest)
    return PID(_canonical(text)) if is_pid_shaped(text) else text


@cython.final
cdef class ProcessTable:
    """PID text and names of the living processes of one App."""

    def __cinit__(self):
        self.by_pid = {}
        self.by_name = {}

    cdef int add(self, PID pid, object process) except -1:
        self.by_pid[pid] = process
        return 0

    cdef int remove(self, PID pid, list names) except -1:
        if names is not None:
            for name in names:
                self.by_name.pop(name, None)
        self.by_pid.pop(pid, None)
        return 0

    cdef object find(self, object dest):
        """The process of a PID's text or of a registered name, or None; raises as `plain_dest`."""
        if isinstance(dest, str):
            process = self.by_pid.get(dest)
            if process is not None:
                return process
        dest = plain_dest(dest)
        return self.by_pid.get(dest) if type(dest) is PID else self.by_name.get(dest)

    cdef int forget(self) except -1:
        """Let no PID lead to its process any more."""
        for pid in self.by_pid:
            (<PID>pid).record = NULL
        return 0

    def register(self, str name, process) -> None:
        """Give a living process a name; raises NameTaken, ValueError for no name at all."""
        if not name or name[0] == "@" or is_pid_shaped(name):
            raise ValueError(f"{name!r} is no name: a name is not empty, does not begin with "
                             f"'@' or '{{' and does not end with '}}'")
        holder = self.by_name.get(name)
        if holder is not None and holder is not process:
            raise NameTaken(f"the name {name!r} is registered to {holder.pid}")
        self.by_name[name] = process

    def unregister(self, str name) -> None:
        """Take a name away; an unknown name is no error."""
        self.by_name.pop(name, None)

    def lookup(self, str name):
        """The process of a name, or None."""
        return self.by_name.get(name)

    def processes(self) -> list:
        """All living processes, oldest first."""
        return list(self.by_pid.values())

    def __len__(self):
        return len(self.by_pid)
