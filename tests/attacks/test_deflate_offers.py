"""Absurd permessage-deflate offers: declined, or 400; the next offer in the list is still tried."""

import zlib

import pytest
from attack_helpers import handshake, target
from raw_frames import FIN, RSV1, TEXT, deflated, raw

PMD = "permessage-deflate"
ON = {"compression": PMD}

DECLINED = {
    "duplicated flag": "server_no_context_takeover; server_no_context_takeover",
    "duplicated window": "client_max_window_bits; client_max_window_bits",
    "duplicated window with values": "server_max_window_bits=10; server_max_window_bits=10",
    "window of 8 of the server": "server_max_window_bits=8",
    "window of 8 of the client": "client_max_window_bits=8",
    "window of 7": "server_max_window_bits=7",
    "window of 16": "server_max_window_bits=16",
    "window of 0": "client_max_window_bits=0",
    "window of -9": "server_max_window_bits=-9",
    "window of 010": "server_max_window_bits=010",
    "window of 1.0": "server_max_window_bits=1.0",
    "window of 2 ** 70": f"client_max_window_bits={2**70}",
    "window without value": "server_max_window_bits",
    "flag with a value": "client_no_context_takeover=1",
    "unknown parameter": "x",
    "unknown parameter with a value": "x=1",
    "another case": "Server_No_Context_Takeover",
    "all at once": "; ".join(["a", *["server_max_window_bits=8"] * 50]),
}

MALFORMED = {
    "empty": "",
    "a comma": ",",
    "a semicolon": ";",
    "no parameter": f"{PMD};",
    "no value": f"{PMD}; client_max_window_bits=",
    "no name": f"{PMD}; =1",
    "an open quote": f'{PMD}; client_max_window_bits="10',
    "an empty quote": f'{PMD}; client_max_window_bits=""',
    "a quote with a comma": f'{PMD}; client_max_window_bits="1,0"',
    "two values": f"{PMD}; client_max_window_bits=1=0",
    "above 127": b"permessage-deflate; \xff",
    "a good one before a bad one": f"{PMD}, x;",
}


@pytest.mark.parametrize("name", DECLINED)
def test_absurd_offers_are_declined_and_the_next_one_is_tried(run, name):
    """CVE-2026-2229 (undici): a window that zlib does not have raised far from the handshake."""

    async def main():
        async with target(ON) as here:
            bad = f"{PMD}; {DECLINED[name]}"
            alone = await here.upgraded(Sec_WebSocket_Extensions=bad)
            assert "sec-websocket-extensions" not in alone.fields
            await alone.echoes(1)
            both = await here.upgraded(Sec_WebSocket_Extensions=f"{bad}, {PMD}")
            assert both.fields["sec-websocket-extensions"] == PMD
            lines = await here.upgraded(Sec_WebSocket_Extensions=[bad, PMD])
            assert lines.fields["sec-websocket-extensions"] == PMD

    run(main())


@pytest.mark.parametrize("name", MALFORMED)
def test_offers_that_follow_no_grammar_are_400(run, name):
    async def main():
        async with target(ON) as here:
            peer = await here.ask(handshake(Sec_WebSocket_Extensions=MALFORMED[name]))
            answer = await peer.head()
            assert (answer.status, answer.fields["connection"], here.upgrades) == (400, "close", 0)

    run(main())


def test_an_offer_that_was_declined_is_not_in_force(run):
    """RSV1 on a connection without the extension is 1002."""

    async def main():
        async with target(ON) as here:
            peer = await here.upgraded(Sec_WebSocket_Extensions=f"{PMD}; server_max_window_bits=8")
            await peer.send(raw(FIN | TEXT | RSV1, deflated(b"x")))
            assert await peer.closed_with() == 1002

    run(main())


@pytest.mark.parametrize("bits", range(9, 16))
def test_a_window_that_was_accepted_is_kept(run, bits):
    """What the server sends can be read with the window that it promised."""

    async def main():
        async with target(ON) as here:
            offer = f"{PMD}; server_max_window_bits={bits}"
            peer = await here.upgraded(Sec_WebSocket_Extensions=offer)
            assert peer.fields["sec-websocket-extensions"] == offer
            inflate = zlib.decompressobj(wbits=-bits)
            text = bytes(range(32, 127)) * 2000
            for _ in range(2):
                await peer.send(raw(FIN | TEXT, text))
                kind, packed = await peer.receive(compressed=True)
                assert kind == TEXT
                assert inflate.decompress(packed + b"\0\0\xff\xff") == text

    run(main())
