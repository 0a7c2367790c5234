"""What may be opened below a folder, with links, special files and races."""

import os
import socket

import pytest

from wsrelay.http import static_files
from wsrelay.http.static_files import OpenFile, Unusual, find


@pytest.fixture
def tree(tmp_path):
    """A folder `www` with some files, and a secret beside it."""
    www = tmp_path / "www"
    (www / "deep" / "er").mkdir(parents=True)
    (www / "a.txt").write_bytes(b"a")
    (www / "deep" / "er" / "b.txt").write_bytes(b"b")
    (tmp_path / "secret.txt").write_bytes(b"secret")
    return www


@pytest.fixture(autouse=True)
def descriptors():
    """Nothing stays open."""
    before = len(os.listdir("/dev/fd"))
    yield
    assert len(os.listdir("/dev/fd")) == before


def look(root, *names):
    found = find(os.fsencode(root), [os.fsencode(name) for name in names])
    if isinstance(found, OpenFile):
        try:
            return found.read(0, 100)
        finally:
            found.close()
    return found


def test_files_and_folders(tree):
    assert look(tree, "a.txt") == b"a"
    assert look(tree, "deep", "er", "b.txt") == b"b"
    assert look(tree) is Unusual.FOLDER
    assert look(tree, "deep", "er") is Unusual.FOLDER
    for absent in (["b.txt"], ["deep", "b.txt"], ["a.txt", "x"], ["no", "no"], ["n" * 300]):
        assert look(tree, *absent) is Unusual.NOTHING


def test_a_file_is_read_in_parts_and_closed_once(tree):
    found = find(os.fsencode(tree), [b"a.txt"])
    assert (found.read(0, 5), found.read(1, 5), found.status.st_size) == (b"a", b"", 1)
    found.close()
    found.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        found.read(0, 1)


def test_what_nobody_takes_is_closed(tree):
    find(os.fsencode(tree), [b"a.txt"])


@pytest.mark.parametrize(
    "target", ["../secret.txt", "{outside}/secret.txt", "deep/../../secret.txt"]
)
def test_a_link_out_of_the_folder(tree, target):
    (tree / "link").symlink_to(target.format(outside=tree.parent))
    assert look(tree, "link") is Unusual.NOTHING


def test_a_folder_that_is_a_link_out_of_the_folder(tree):
    (tree / "up").symlink_to("..")
    (tree / "root").symlink_to("/")
    for names in (["up"], ["up", "secret.txt"], ["up", "www", "up", "secret.txt"]):
        assert look(tree, *names) is Unusual.NOTHING
    assert look(tree, "root", *tree.parent.parts[1:], "secret.txt") is Unusual.NOTHING


def test_a_path_that_is_outside_has_no_names(tree):
    (tree / "up").symlink_to("..")
    root = os.fsencode(tree)
    assert static_files._resolve(root, [b"up", b"secret.txt"]) is None
    assert static_files._resolve(root, [b"up", b"www", b"a.txt"]) == [b"a.txt"]


def test_a_folder_whose_name_begins_with_that_of_the_root(tree):
    beside = tree.parent / "www2"
    beside.mkdir()
    (beside / "x").write_bytes(b"x")
    (tree / "link").symlink_to("../www2/x")
    assert look(tree, "link") is Unusual.NOTHING


def test_links_that_stay_inside(tree):
    """As in a volume of Kubernetes, where each file is one."""
    (tree / "v1").mkdir()
    (tree / "v1" / "c.txt").write_bytes(b"c")
    (tree / "data").symlink_to("v1")
    (tree / "c.txt").symlink_to("data/c.txt")
    (tree / "absolute").symlink_to(tree / "deep")
    (tree / "self").symlink_to(".")
    assert look(tree, "c.txt") == b"c"
    assert look(tree, "data", "c.txt") == b"c"
    assert look(tree, "absolute", "er", "b.txt") == b"b"
    assert look(tree, "self", "a.txt") == b"a"
    assert look(tree, "self") is look(tree, "data") is Unusual.FOLDER


def test_links_to_nothing_and_in_circles(tree):
    (tree / "dangling").symlink_to("nothing")
    (tree / "circle").symlink_to("circle")
    assert look(tree, "dangling") is look(tree, "circle") is Unusual.NOTHING


def test_the_folder_itself_may_be_a_link_and_move(tree):
    current = tree.parent / "current"
    current.symlink_to("www")
    (tree / "inner").symlink_to("a.txt")
    assert look(current, "a.txt") == look(current, "inner") == b"a"
    other = tree.parent / "next"
    other.mkdir()
    (other / "a.txt").write_bytes(b"new")
    current.unlink()
    current.symlink_to("next")
    assert look(current, "a.txt") == b"new"


def test_what_is_no_regular_file(tree):
    os.mkfifo(tree / "fifo")
    here = os.getcwd()
    os.chdir(tree)  # the path of a socket is short
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind("socket")
    finally:
        os.chdir(here)
    assert look(tree, "fifo") is look(tree, "socket") is Unusual.NOTHING
    assert look("/dev", "null") is look("/dev", "zero") is Unusual.NOTHING


def test_the_folder_is_gone(tree):
    with pytest.raises(FileNotFoundError):
        look(tree.parent / "gone", "a.txt")


def test_a_fifo_put_in_the_place_of_a_file(tree, monkeypatch):
    monkeypatch.setattr(static_files, "_kind", lambda folder, name: None)
    os.mkfifo(tree / "fifo")
    assert look(tree, "fifo") is Unusual.NOTHING


def test_a_link_put_in_the_place_of_a_file(tree, monkeypatch):
    monkeypatch.setattr(static_files, "_kind", lambda folder, name: None)
    (tree / "link").symlink_to("../secret.txt")
    assert look(tree, "link") is Unusual.NOTHING


def test_a_link_put_in_the_place_of_a_folder(tree, monkeypatch):
    (tree / "up").symlink_to("..")
    kind = static_files._kind
    monkeypatch.setattr(
        static_files,
        "_kind",
        lambda folder, name: Unusual.FOLDER if name == b"up" else kind(folder, name),
    )
    assert look(tree, "up", "secret.txt") is Unusual.NOTHING


def test_a_link_put_in_after_links_were_resolved(tree, monkeypatch):
    (tree / "link").symlink_to("deep")
    (tree / "up").symlink_to("..")
    monkeypatch.setattr(static_files, "_resolve", lambda root, names: [b"up", b"secret.txt"])
    assert look(tree, "link", "secret.txt") is Unusual.NOTHING


def test_a_folder_swapped_under_way(tree, monkeypatch):
    """The walk goes on in the folder that it opened, wherever the name leads by now."""
    kind = static_files._kind

    def swap(folder, name):
        if name == b"er":
            (tree / "deep").rename(tree / "old")
            (tree / "deep").symlink_to("..")
        return kind(folder, name)

    monkeypatch.setattr(static_files, "_kind", swap)
    assert look(tree, "deep", "er", "b.txt") == b"b"
