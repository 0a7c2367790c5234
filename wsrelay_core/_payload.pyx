"""What the payloads of `ws.send`, `ws.close` and of other topics mean as frames."""

import base64

import orjson

from cpython.buffer cimport PyObject_CheckBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_Next, PyDict_Size
from cpython.object cimport PyObject
from cpython.unicode cimport PyUnicode_AsUTF8AndSize, PyUnicode_FromObject

from wsrelay_core._frame cimport FrameCodec, server_frame
from wsrelay_core._process cimport Shared
from wsrelay_core._wire cimport BINARY, TEXT

cdef int JSON_OPTIONS = orjson.OPT_NON_STR_KEYS
cdef str TYPE_KEY = "type"
cdef str DATA_KEY = "data"
cdef str TEXT_NAME = "text"
cdef str BINARY_NAME = "binary"


cdef bytes frame_of(object payload, FrameCodec codec, bint plain, Shared shared):
    """The frame of a `ws.send` payload; raises ValueError, TypeError for a malformed one.

    `plain`: the connection has no extension, so that a frame may be shared by a broadcast.
    """
    cdef PyObject *data_found = NULL
    cdef PyObject *kind_found = NULL
    cdef object data, kind
    if plain and shared is not None and shared.frame is not None:
        return shared.frame
    if type(payload) is dict and has_just_both(<dict>payload, &kind_found, &data_found):
        kind = <object>kind_found
        data = <object>data_found
    elif type(payload) is dict:
        kind = (<dict>payload).get(TYPE_KEY)
        data = (<dict>payload).get(DATA_KEY)
    elif isinstance(payload, dict):
        kind = payload.get(TYPE_KEY)
        data = payload.get(DATA_KEY)
    else:
        raise TypeError(f"ws.send takes a dict with type and data, not {type(payload).__name__}")
    if type(data) is str and (kind is None or kind == TEXT_NAME):
        return text_frame(<str>data, TEXT, codec, plain, shared)
    return any_frame(kind, data, codec, plain, shared)


cdef inline bint has_just_both(dict payload, PyObject** kind, PyObject** data) noexcept:
    """Whether its two keys are the very names of literals in code: this spares the look-ups."""
    cdef PyObject *key
    cdef PyObject *value
    cdef Py_ssize_t position = 0
    if PyDict_Size(payload) != 2:
        return False
    while PyDict_Next(payload, &position, &key, &value):
        if key == <PyObject*>TYPE_KEY:
            kind[0] = value
        elif key == <PyObject*>DATA_KEY:
            data[0] = value
    return kind[0] is not NULL and data[0] is not NULL


cdef bytes text_frame(str data, int opcode, FrameCodec codec, bint plain, Shared shared):
    cdef Py_ssize_t size = 0
    cdef const char* text = PyUnicode_AsUTF8AndSize(data, &size)
    return build(opcode, <const unsigned char*>text, size, codec, plain, shared)


cdef bytes any_frame(object kind, object data, FrameCodec codec, bint plain, Shared shared):
    """Every form of data that is not simply a str to be sent as text."""
    cdef bytes raw
    cdef int opcode
    if kind is not None and kind != TEXT_NAME and kind != BINARY_NAME:
        raise ValueError("type is neither 'text' nor 'binary'")
    if isinstance(data, (dict, list)) and kind != BINARY_NAME:
        raw = orjson.dumps(data, option=JSON_OPTIONS)
        opcode = TEXT
    elif isinstance(data, str):
        opcode = BINARY if kind == BINARY_NAME else TEXT
        # Of a subclass the text itself: str() of an enum's member is its name.
        return text_frame(PyUnicode_FromObject(data), opcode, codec, plain, shared)
    elif PyObject_CheckBuffer(data):
        raw = data if type(data) is bytes else bytes(data)
        opcode = TEXT if kind == TEXT_NAME else BINARY
        if opcode == TEXT:
            raw.decode("utf-8")  # a text frame must be valid UTF-8 (RFC 6455 8.1)
    else:
        raise TypeError(f"data of type {type(data).__name__} cannot be sent")
    return build(opcode, <const unsigned char*>PyBytes_AS_STRING(raw), PyBytes_GET_SIZE(raw),
                 codec, plain, shared)


cdef bytes build(int opcode, const unsigned char* data, Py_ssize_t size, FrameCodec codec,
                 bint plain, Shared shared):
    cdef bytes frame
    if not plain:
        return codec.encode(opcode, data, size)
    frame = server_frame(opcode, data, size)
    if shared is not None:
        shared.frame = frame
    return frame


cdef bytes envelope_of(str topic, object payload, FrameCodec codec, bint plain, Shared shared):
    """A message of an ordinary topic as one text frame: `{"topic": …, "data": …}`."""
    cdef bytes raw
    if plain and shared is not None and shared.frame is not None:
        return shared.frame
    raw = orjson.dumps({"topic": topic, "data": payload}, default=_as_text, option=JSON_OPTIONS)
    return build(TEXT, <const unsigned char*>PyBytes_AS_STRING(raw), PyBytes_GET_SIZE(raw),
                 codec, plain, shared)


def _as_text(value):
    """JSON has no bytes: they travel as base64."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(bytes(value)).decode("ascii")
    raise TypeError(f"{type(value).__name__} cannot be sent as JSON")


cdef tuple close_of(object payload):
    """Code and reason of a `ws.close` payload; raises TypeError for a malformed one."""
    if payload is None:
        return 1000, ""
    if isinstance(payload, str):
        return 1000, PyUnicode_FromObject(payload)
    if isinstance(payload, int) and not isinstance(payload, bool):
        return payload, ""
    if not isinstance(payload, dict):
        raise TypeError(f"ws.close takes a dict, a code or a reason, not {type(payload).__name__}")
    code = payload.get("code")
    reason = payload.get("reason")
    if code is None:
        code = 1000
    if reason is None:
        reason = ""
    if not isinstance(code, int) or isinstance(code, bool) or not isinstance(reason, str):
        raise TypeError("ws.close takes an int as code and a str as reason")
    return code, PyUnicode_FromObject(reason)


cdef bint may_send_code(object code) except -1:
    """Close codes that an endpoint may put on the wire (RFC 6455 7.4)."""
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999
