"""How many objects of the core are alive, by type. Built with `WSRELAY_DEBUG=1` only.

`watch()` puts a counter before the allocation and the deallocation of every type of the core, from
outside: a new class is counted without a line of its own, and a release build knows nothing of it.
Objects that come out of a freelist are never allocated; a debug build has none.
"""

import pkgutil
from importlib import import_module

from cpython.object cimport PyObject, PyTypeObject

cdef extern from *:
    """
    enum { LIVE_MOST = 64 };

    static struct {
        PyTypeObject *type;
        allocfunc alloc;
        newfunc create;
        destructor end;
        Py_ssize_t alive;
    } live_kinds[LIVE_MOST];
    static int live_kinds_count = 0;

    /* The type of the core that an object is of: its own, or what a class in Python stands on. */
    static int live_kind(PyTypeObject *type) {
        for (; type != NULL; type = type->tp_base)
            for (int kind = 0; kind < live_kinds_count; kind++)
                if (live_kinds[kind].type == type)
                    return kind;
        return -1;
    }

    /* One set of hooks for each type. A cdef class calls the slots of its bases with the same
       object: only that of the object's own type counts. Python gives a class of its own another
       tp_alloc but the same tp_new, and code in C takes tp_alloc without tp_new: so one counts
       where the type is the core's, the other where it is a class in Python. */
    #define LIVE_HOOKS(KIND) \\
        static PyObject *live_alloc_##KIND(PyTypeObject *type, Py_ssize_t items) { \\
            PyObject *object = live_kinds[KIND].alloc(type, items); \\
            if (object != NULL && type == live_kinds[KIND].type) \\
                live_kinds[KIND].alive++; \\
            return object; \\
        } \\
        static PyObject *live_new_##KIND(PyTypeObject *type, PyObject *args, PyObject *named) { \\
            /* Before the call: an object that __cinit__ refuses is deallocated inside. */ \\
            if (type != live_kinds[KIND].type && live_kind(type) == KIND) \\
                live_kinds[KIND].alive++; \\
            return live_kinds[KIND].create(type, args, named); \\
        } \\
        static void live_end_##KIND(PyObject *object) { \\
            if (live_kind(Py_TYPE(object)) == KIND) \\
                live_kinds[KIND].alive--; \\
            live_kinds[KIND].end(object); \\
        }
    #define LIVE_EIGHT(TENS) \\
        LIVE_HOOKS(TENS##0) LIVE_HOOKS(TENS##1) LIVE_HOOKS(TENS##2) LIVE_HOOKS(TENS##3) \\
        LIVE_HOOKS(TENS##4) LIVE_HOOKS(TENS##5) LIVE_HOOKS(TENS##6) LIVE_HOOKS(TENS##7)
    /* Octal, so that eight and eight go on without a gap. */
    LIVE_EIGHT(00) LIVE_EIGHT(01) LIVE_EIGHT(02) LIVE_EIGHT(03)
    LIVE_EIGHT(04) LIVE_EIGHT(05) LIVE_EIGHT(06) LIVE_EIGHT(07)

    #define LIVE_EIGHT_OF(HOOK, TENS) \\
        HOOK##TENS##0, HOOK##TENS##1, HOOK##TENS##2, HOOK##TENS##3, \\
        HOOK##TENS##4, HOOK##TENS##5, HOOK##TENS##6, HOOK##TENS##7
    #define LIVE_ALL(HOOK) { \\
        LIVE_EIGHT_OF(HOOK, 00), LIVE_EIGHT_OF(HOOK, 01), LIVE_EIGHT_OF(HOOK, 02), \\
        LIVE_EIGHT_OF(HOOK, 03), LIVE_EIGHT_OF(HOOK, 04), LIVE_EIGHT_OF(HOOK, 05), \\
        LIVE_EIGHT_OF(HOOK, 06), LIVE_EIGHT_OF(HOOK, 07) }
    static const allocfunc live_allocs[LIVE_MOST] = LIVE_ALL(live_alloc_);
    static const newfunc live_news[LIVE_MOST] = LIVE_ALL(live_new_);
    static const destructor live_ends[LIVE_MOST] = LIVE_ALL(live_end_);

    static int live_watch(PyTypeObject *type) {
        int kind = live_kinds_count;
        if (kind == LIVE_MOST) {
            PyErr_SetString(PyExc_RuntimeError, "more types than _live.pyx has hooks for");
            return -1;
        }
        live_kinds[kind].type = type;
        live_kinds[kind].alloc = type->tp_alloc;
        live_kinds[kind].create = type->tp_new;
        live_kinds[kind].end = type->tp_dealloc;
        type->tp_alloc = live_allocs[kind];
        if (type->tp_new != NULL)
            type->tp_new = live_news[kind];
        type->tp_dealloc = live_ends[kind];
        live_kinds_count++;
        return 0;
    }

    static Py_ssize_t live_alive(int kind) { return live_kinds[kind].alive; }
    """
    int live_watch(PyTypeObject *type) except -1
    Py_ssize_t live_alive(int kind)

cdef int HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: not one of the core's cdef classes

cdef list watched = []  # types, in the order of their hooks


def watch() -> None:
    """Count from now on; a class in Python that stands on the core is made after this."""
    if watched:
        return
    for module in pkgutil.iter_modules(import_module("wsrelay_core").__path__, "wsrelay_core."):
        for value in vars(import_module(module.name)).values():
            if isinstance(value, type) and value.__module__ == module.name:
                if not value.__flags__ & HEAP_TYPE:
                    live_watch(<PyTypeObject*><PyObject*>value)
                    watched.append(value)


def alive() -> dict[str, int]:
    """How many objects of each type are alive, of those made since `watch`; only what there is."""
    counts = {kind.__name__: live_alive(index) for index, kind in enumerate(watched)}
    return {name: count for name, count in counts.items() if count}
