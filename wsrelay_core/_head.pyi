Pairs = list[tuple[bytes, bytes]]
Index = dict[bytes, list[bytes]]

def read_plain_head(
    block: bytes, request_line: int, header_bytes: int, most: int
) -> tuple[str, bytes, Pairs, Index] | None: ...
