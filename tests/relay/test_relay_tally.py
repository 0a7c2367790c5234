"""What the ended connections of a relay add up to."""

import pytest
from relay_helpers import CLIENTS, dial, stage, until

from wsrelay.relay_tally import Tally, code_class


def record(cause="client_close", code=1000, messages_in=1, messages_out=2):
    return {
        "cause": cause,
        "code": code,
        "messages_in": messages_in,
        "messages_out": messages_out,
    }


def test_sums():
    tally = Tally()
    for one in (record(), record(code=3000), record(code=3999), record("connection_lost", 1006)):
        tally.add(one)
    assert (tally.messages_in, tally.messages_out) == (4, 8)
    assert tally.ends == {
        ("client_close", "1000"): 1,
        ("client_close", "3xxx"): 2,
        ("connection_lost", "1006"): 1,
    }


@pytest.mark.parametrize(
    ("code", "text"),
    [(1000, "1000"), (1015, "1015"), (2999, "2xxx"), (3000, "3xxx"), (4999, "4xxx")],
)
def test_classes_of_codes(code, text):
    assert code_class(code) == text


@pytest.mark.parametrize("kind", CLIENTS)
def test_a_relay_counts_its_connections(kind, run):
    async def main():
        async with stage(relay_outside=True) as here:
            (service,) = here.app.services.values()
            tally = service.routers[0].middleware[-1].tally
            async with dial(kind, here.url) as client:
                await client.send("x")
                await here.mail.next("ws.message")
                assert not tally.ends
                await client.close(4321)
            await until(lambda: tally.ends)
            assert tally.ends == {("client_close", "4xxx"): 1}
            assert tally.messages_in == 1

    run(main())
