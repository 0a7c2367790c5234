"""What an App says to mistakes in code, where they are made."""

import pytest

from wsrelay import App, process


async def forever():
    await process.inbox().receive()


@pytest.mark.parametrize("name", ["a b", "a|b", "{a", "", "a:b"])
def test_a_namespace_is_a_part_of_pids(name):
    with pytest.raises(ValueError, match="may only have letters|has no ':'"):
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
