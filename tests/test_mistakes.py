"""What an App says to mistakes in code, where they are made."""

import pytest

from wsrelay import App, process


async def forever():
    await process.inbox().receive()


@pytest.mark.parametrize("name", ["a b", "a|b", "{a", "", "a:b"])
def test_a_namespace_is_a_part_of_pids(name):
    with pytest.raises(ValueError, match=r"may only have letters|has no ':'"):
        App(name)


@pytest.mark.parametrize("name", ["a b", "a|b", "a}", "", "app:", "a:b:c"])
@pytest.mark.parametrize(
    "declare",
    [
        lambda app, name: app.process(name)(forever),
        lambda app, name: app.host(name),
        lambda app, name: app.service(name),
        lambda app, name: app.supervise(name, forever),
    ],
)
def test_names_have_the_letters_that_a_file_allows(declare, name):
    with pytest.raises(ValueError, match="may only have letters"):
        declare(App(), name)


def test_a_process_without_its_name():
    with pytest.raises(TypeError, match=r'write @app\.process\("name"\)'):

        @App().process
        async def handler(): ...


@pytest.mark.parametrize("most", [-1, "5", None])
def test_a_host_for_a_number_of_processes(most):
    with pytest.raises(ValueError, match="max_processes is a whole number from 0 up"):
        App().host("workers", max_processes=most)


@pytest.mark.parametrize("listen", [lambda app: app.run(8080), lambda app: app.service(addr=8080)])
def test_a_number_in_place_of_an_address(listen):
    with pytest.raises(
        TypeError, match=r'an address is a text such as "127\.0\.0\.1:8080".*, not int'
    ):
        listen(App())


@pytest.mark.parametrize("port", [-1, 65536])
def test_what_is_no_port(port):
    with pytest.raises(ValueError, match=f"^{port} is not a port; a port is 0 to 65535"):
        App().run(port=port)


def test_a_service_after_the_router_that_made_it():
    app = App()
    app.router()
    with pytest.raises(ValueError, match="declare it before its first router"):
        app.service(addr="127.0.0.1:0")
    app = App()
    app.service(addr="127.0.0.1:0")
    with pytest.raises(ValueError, match=r'already an http\.service "app:gateway"$'):
        app.service()


def test_what_a_service_requires_is_a_list():
    with pytest.raises(TypeError, match=r'requires is a list, such as \["db"\], not a text'):
        App().supervise("cache", forever, requires="db")
