import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsrelay.http import HandshakeError, Offer
from wsrelay.http.extensions import answer_deflate, parse_offers

PMD = "permessage-deflate"


@pytest.mark.parametrize(
    ("values", "offers"),
    [
        ([], ()),
        (["a"], (Offer("a", ()),)),
        (["a; b; c=d"], (Offer("a", (("b", None), ("c", "d"))),)),
        ([" a ;\tb = c , d"], (Offer("a", (("b", "c"),)), Offer("d", ()))),
        ([",a,,b,"], (Offer("a", ()), Offer("b", ()))),
        (["a", "b"], (Offer("a", ()), Offer("b", ()))),
        (['a; b="c"'], (Offer("a", (("b", "c"),)),)),
        ([r'a; b="\c\d"'], (Offer("a", (("b", "cd"),)),)),
        (["a; b; b=1"], (Offer("a", (("b", None), ("b", "1"))),)),
    ],
)
def test_offers(values, offers):
    assert parse_offers([value.encode() for value in values]) == offers


@pytest.mark.parametrize(
    "value",
    [
        "",
        ",",
        " ",
        ";",
        "a;",
        "a;;b",
        "a;b=",
        "a;=b",
        "a=b",
        "a b",
        "a;b c",
        'a;b="c',
        'a;b=""',
        'a;b="c d"',
        'a;b="c,d"',
        'a;b="c"d',
        'a;b="\\"',
        "a;b=c=d",
        "a/b",
        "a;\x01",
        "ä",
        "a;b=ä",
        "a,b;",
    ],
)
def test_what_follows_no_grammar_fails_the_handshake(value):
    with pytest.raises(HandshakeError) as caught:
        parse_offers([value.encode("latin-1")])
    assert caught.value.status_code == 400


@pytest.mark.parametrize(
    ("offer", "answer"),
    [
        (PMD, PMD),
        (f"{PMD}; client_max_window_bits", f"{PMD}; client_max_window_bits=15"),
        (f"{PMD}; client_max_window_bits=10", f"{PMD}; client_max_window_bits=10"),
        (f"{PMD}; server_max_window_bits=9", f"{PMD}; server_max_window_bits=9"),
        (f'{PMD}; server_max_window_bits="12"', f"{PMD}; server_max_window_bits=12"),
        (f"{PMD}; server_no_context_takeover", f"{PMD}; server_no_context_takeover"),
        (f"{PMD}; client_no_context_takeover", f"{PMD}; client_no_context_takeover"),
        (f"x-other; a=b, {PMD}", PMD),
    ],
)
def test_offers_that_are_accepted(offer, answer):
    value, extension = answer_deflate(parse_offers([offer.encode()]))
    assert value == answer
    assert extension.enabled()


BAD_PARAMS = [
    "unknown",
    "unknown=1",
    "server_no_context_takeover=1",
    "client_no_context_takeover=x",
    "server_no_context_takeover; server_no_context_takeover",
    "client_max_window_bits; client_max_window_bits",
    "client_max_window_bits=10; client_max_window_bits=10",
    "server_max_window_bits",
    "server_max_window_bits=8",
    "client_max_window_bits=8",
    "server_max_window_bits=7",
    "server_max_window_bits=16",
    "server_max_window_bits=010",
    "server_max_window_bits=1.0",
    "server_max_window_bits=-9",
    "client_max_window_bits=99999999999999999999",
    "Server_no_context_takeover",
    "server_no_context_takeoverx",
]


@pytest.mark.parametrize("params", BAD_PARAMS)
def test_a_bad_offer_is_declined_and_the_next_one_tried(params):
    bad = f"{PMD}; {params}"
    assert answer_deflate(parse_offers([bad.encode()])) is None
    both = f"{bad}, {PMD}; server_max_window_bits=11, {PMD}"
    value, extension = answer_deflate(parse_offers([both.encode()]))
    assert value == f"{PMD}; server_max_window_bits=11"
    # Nothing of the declined offer is left in it.
    assert extension.server_max_window_bits == 11
    assert extension.client_max_window_bits == 15
    assert not extension.client_no_context_takeover
    assert not extension.server_no_context_takeover


def test_each_connection_has_an_extension_of_its_own():
    offers = parse_offers([PMD.encode()])
    assert answer_deflate(offers)[1] is not answer_deflate(offers)[1]


@pytest.mark.parametrize("offer", ["x-webkit-deflate-frame", "Permessage-Deflate", "deflate"])
def test_another_extension_is_no_offer(offer):
    assert answer_deflate(parse_offers([offer.encode()])) is None


@given(st.one_of(st.binary(max_size=60), st.text('ab;,=" \\\t', max_size=40).map(str.encode)))
def test_any_bytes_give_offers_or_a_400(value):
    try:
        offers = parse_offers([value])
    except HandshakeError as error:
        assert error.status_code == 400
    else:
        assert offers
        answer_deflate(offers)


@pytest.mark.parametrize(
    "shape",
    [
        lambda n: b"a; b=" + b'"' + b"\\c" * n,
        lambda n: b"a" + b"; a" * n + b"!@",
        lambda n: b"a" + b" \t" * n + b"@",
        lambda n: b", " * n + b"@",
        lambda n: b"x, " * n + b'a; b="',
        lambda n: b"a" * 2 * n + b"@",
    ],
)
def test_the_work_grows_with_the_length_only(shape):
    small, large = (work(shape(n)) for n in (1_000, 64_000))
    assert large < 64 * small * 6


def work(value):
    times = []
    for _ in range(3):
        start = time.process_time_ns()
        with pytest.raises(HandshakeError):
            parse_offers([value])
        times.append(time.process_time_ns() - start)
    return max(min(times), 20_000)
