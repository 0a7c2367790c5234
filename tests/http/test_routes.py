import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsrelay.http import HTTPError, Route
from wsrelay.http.routes import RouteTree, parse_prefix, split_path


def nothing(request): ...


def tree_of(*templates):
    tree = RouteTree()
    for template in templates:
        tree.add(Route("GET", template, nothing), template)
    return tree


def find(tree, path):
    return [(methods["GET"], values) for methods, values in tree.find(split_path(path.encode()))]


@pytest.mark.parametrize(
    ("path", "segments"),
    [
        ("/", [""]),
        ("/a", ["a"]),
        ("/a/", ["a", ""]),
        ("//a", ["", "a"]),
        ("/a//b", ["a", "", "b"]),
        ("/a%2Fb/c", ["a/b", "c"]),
        ("/%C3%A4%20+", ["ä +"]),
        ("/a%25", ["a%"]),
        ("/...", ["..."]),
        ("/.a/a.", [".a", "a."]),
        ("/.well-known/x", [".well-known", "x"]),
        ("/a%0d%0a", ["a\r\n"]),
    ],
)
def test_a_path_is_split_and_then_decoded(path, segments):
    assert split_path(path.encode()) == segments


@pytest.mark.parametrize(
    "path",
    [
        "/.",
        "/..",
        "/a/../b",
        "/a/./b",
        "/%2e%2e/b",
        "/.%2E",
        "/a%2f..%2fb",
        "/..%5cb",
        "/a\\..\\b",
        "/%",
        "/%a",
        "/%zz",
        "/a%00",
        "/%ff",
        "/%c0%ae%c0%ae",
    ],
)
def test_paths_that_mean_something_else_are_refused(path):
    with pytest.raises(HTTPError) as caught:
        split_path(path.encode())
    assert caught.value.status_code == 400


def test_the_most_specific_template_comes_first():
    tree = tree_of("/{rest...}", "/a/{id}", "/a/b", "/{x}/b", "/a/{rest...}")
    assert find(tree, "/a/b") == [
        ("/a/b", ()),
        ("/a/{id}", ("b",)),
        ("/a/{rest...}", ("b",)),
        ("/{x}/b", ("a",)),
        ("/{rest...}", ("a/b",)),
    ]
    assert find(tree, "/c/d/e") == [("/{rest...}", ("c/d/e",))]


def test_a_literal_branch_that_ends_nowhere_is_left_again():
    tree = tree_of("/a/b/c", "/{x}/b/d", "/{x}/{y}/e")
    assert find(tree, "/a/b/d") == [("/{x}/b/d", ("a",))]
    assert find(tree, "/a/b/e") == [("/{x}/{y}/e", ("a", "b"))]
    assert find(tree, "/a/b/f") == []


def test_slashes_count():
    tree = tree_of("/a", "/b/", "/c/{id}", "/d/{rest...}", "/")
    assert find(tree, "/") == [("/", ())]
    assert find(tree, "/a/") == []
    assert find(tree, "/b") == []
    assert find(tree, "/b/") == [("/b/", ())]
    assert find(tree, "/c/") == []
    assert find(tree, "/c//") == []
    assert find(tree, "//a") == []
    assert find(tree, "/d") == []
    assert find(tree, "/d/") == [("/d/{rest...}", ("",))]
    assert find(tree, "/d//x/") == [("/d/{rest...}", ("/x/",))]
    assert find(tree, "/c/a%2Fb") == [("/c/{id}", ("a/b",))]


def test_case_counts_and_literals_are_decoded():
    tree = tree_of("/Ä b", "/x")
    assert find(tree, "/%C3%84%20b") == [("/Ä b", ())]
    assert find(tree, "/X") == []


@pytest.mark.parametrize(
    ("method", "template"),
    [
        ("GET", ""),
        ("GET", "a"),
        ("GET", "/a{id}"),
        ("GET", "/{id}a"),
        ("GET", "/{}"),
        ("GET", "/{1}"),
        ("GET", "/{id"),
        ("GET", "/id}"),
        ("GET", "/{rest...}/a"),
        ("GET", "/{...}"),
        ("GET", "/{a}/{a}"),
        ("GET", "/a/../b"),
        ("GET", "/a?b"),
        ("GET", "/a#b"),
        ("G T", "/"),
        ("", "/"),
        ("CONNECT", "/"),
    ],
)
def test_bad_routes(method, template):
    with pytest.raises(ValueError, match="bad"):
        Route(method, template, nothing)


def test_a_route_shows_its_function():
    route = Route("get", "/a/{id}", nothing)
    assert route.method == "GET"
    assert route.names == ("id",)
    assert str(route) == f"GET /a/{{id}} ({__name__}:nothing)"
    assert "GET /a/{id}" in repr(route)


def test_prefixes():
    assert parse_prefix("") == parse_prefix("/") == ""
    assert parse_prefix("/ws/") == parse_prefix("/ws") == "/ws"
    for bad in ("ws", "/{id}", "/a/.."):
        with pytest.raises(ValueError, match="bad"):
            parse_prefix(bad)


SEGMENTS = st.sampled_from(["a", "b", "{x}", "{y}"])
TEMPLATES = st.lists(SEGMENTS, min_size=1, max_size=4, unique=True)


@given(
    st.lists(TEMPLATES, min_size=1, max_size=6),
    st.lists(st.booleans(), min_size=6, max_size=6),
    st.lists(st.sampled_from(["a", "b", "c", ""]), min_size=1, max_size=5),
)
def test_the_tree_finds_what_a_plain_search_finds(templates, tails, segments):
    texts = {}
    for template, tail in zip(templates, tails, strict=False):
        text = "/" + "/".join(template + ["{rest...}"] * tail)
        shape = text.replace("{x}", "{}").replace("{y}", "{}")
        texts.setdefault(shape, text)
    found = {template for template, _ in find(tree_of(*texts.values()), "/" + "/".join(segments))}
    assert found == {text for text in texts.values() if plain_match(text, segments)}


def plain_match(template, segments):
    parts = template[1:].split("/")
    if parts[-1] == "{rest...}":
        parts.pop()
        if len(segments) <= len(parts):
            return False
        segments = segments[: len(parts)]
    return len(parts) == len(segments) and all(
        part == segment or (part.startswith("{") and segment)
        for part, segment in zip(parts, segments, strict=True)
    )


@given(st.binary(max_size=30))
def test_any_path_is_split_or_refused(path):
    visible = b"/" + bytes(byte for byte in path if 32 < byte < 127)
    try:
        segments = split_path(visible)
    except HTTPError as error:
        assert error.status_code == 400
    else:
        assert len(segments) == visible.count(b"/")
        assert not {".", ".."} & set(segments)
