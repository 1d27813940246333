from types import ModuleType

from livepeer.runner.testing import client


def test_it_greets_by_name(pipeline: ModuleType) -> None:
    with client(pipeline.HelloWorld) as hello:
        assert hello.predict(name="Ada") == "Hello, Ada!"


def test_without_a_name_it_greets_the_world(pipeline: ModuleType) -> None:
    with client(pipeline.HelloWorld) as hello:
        assert hello.predict() == "Hello, world!"
