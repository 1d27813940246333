from types import ModuleType

from livepeer.runner.testing import client


def test_known_words_are_translated_and_others_stay(pipeline: ModuleType) -> None:
    with client(pipeline.Template) as template:
        assert template.predict(text="Hello brave world") == "bonjour brave monde"
