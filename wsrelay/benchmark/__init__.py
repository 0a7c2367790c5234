"""`wsrelay bench URL`: load for any WebSocket server, on the core's own `FrameCodec` as client.

`target` says where to, `client` is one connection, `works` what they do together, `histogram` and
`report` what came of it.
"""
