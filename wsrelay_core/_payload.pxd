"""What the payloads of `ws.send`, `ws.close` and of other topics mean as frames."""

from wsrelay_core._frame cimport FrameCodec
from wsrelay_core._process cimport Shared


cdef bytes frame_of(object payload, FrameCodec codec, bint plain, Shared shared)
cdef bytes envelope_of(str topic, object payload, FrameCodec codec, bint plain, Shared shared)
cdef tuple close_of(object payload)
cdef bint may_send_code(object code) except -1
