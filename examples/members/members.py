"""Who is a member, and what a member may do."""

import hmac
import os
import sys

from wsrelay import Request, Response, process, relay_to

SECRET = os.environ["SECRET"].encode()


def sign(member: str) -> str:
    """A token for a member: its name, and a proof that it was made here."""
    return f"{member}.{hmac.digest(SECRET, member.encode(), 'sha256').hex()}"


def verify(token: str) -> str | None:
    """The member that a token is for; None for a token that was not made here."""
    member, _, _ = token.rpartition(".")
    return member if hmac.compare_digest(sign(member).encode(), token.encode()) else None


def may_enter(member: str, request: Request) -> bool:
    """A member may enter its own room."""
    return request.path_params["room"] == member


def enter(request: Request) -> Response:
    """Connect to a room; its process learns who is there from the metadata, and only from it."""
    return relay_to(process.spawn("example:room"), metadata={"member": request.actor})


async def room() -> None:
    """Say who said what."""
    async for msg in process.inbox():
        if msg.topic == "ws.message":
            member = msg.payload["metadata"]["member"]
            process.send(msg.sender, "said", {"by": member, "text": msg.payload["data"]})


if __name__ == "__main__":
    print(sign(sys.argv[1]))
