"""A hook that nobody would ever call is refused with the name that was meant."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from livepeer.runner import LivePipeline, Pipeline, create_app
from livepeer.runner.exceptions import SignatureError
from livepeer.runner.settings import Settings

PLAIN = dataclasses.replace(Settings(), registration=None)


def method(self: Any) -> None: ...


def with_frame(self: Any, frame: Any) -> Any:
    return frame


def predict(self: Any, text: str) -> str:
    return text


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("process_vidoe", "process_video"),
        ("processAudio", "process_audio"),
        ("process_video_batches", "process_video_batch"),
        ("on_stream_started", "on_stream_start"),
        ("onStreamStop", "on_stream_stop"),
        ("on_param_update", "on_params_update"),
        ("on_controls", "on_control"),
        ("warmup", "warm_up"),
        ("set_up", "setup"),
        ("tear_down", "teardown"),
        ("prepare_model", "prepare_models"),
    ],
)
def test_a_misspelt_hook_of_a_live_class_is_refused(name: str, meant: str) -> None:
    hooks = {"process_video": with_frame} if not meant.startswith("process_video") else {}
    cls = type("Live", (LivePipeline,), {**hooks, name: method})
    with pytest.raises(SignatureError, match=f"Live.{name} is never called: .*`{meant}`"):
        create_app(cls, PLAIN)


@pytest.mark.parametrize(
    ("name", "meant"),
    [("tearDown", "teardown"), ("Setup", "setup"), ("predict_batches", "predict_batch")],
)
def test_a_misspelt_hook_of_a_batch_class_is_refused(name: str, meant: str) -> None:
    cls = type("Batch", (Pipeline,), {"predict": predict, name: method})
    with pytest.raises(SignatureError, match=f"Batch.{name} is never called: .*`{meant}`"):
        create_app(cls, PLAIN)


@pytest.mark.parametrize("name", ["process_frame", "process", "transform", "on_frame", "forward"])
def test_a_live_class_whose_only_work_has_a_name_of_another_framework_is_refused(name: str) -> None:
    cls = type("Live", (LivePipeline,), {name: with_frame})
    with pytest.raises(SignatureError, match=f"Live.{name} is never called: .*process_video"):
        create_app(cls, PLAIN)


def test_the_hook_of_the_other_kind_is_refused_where_it_is_the_only_work() -> None:
    live = type("Live", (LivePipeline,), {"predict": predict})
    with pytest.raises(SignatureError, match=r"Live.predict is never called: it belongs to"):
        create_app(live, PLAIN)
    batch = type("Batch", (Pipeline,), {"process_video": with_frame})
    with pytest.raises(SignatureError, match="it has `process_video`, a hook of LivePipeline"):
        create_app(batch, PLAIN)


def test_helpers_beside_the_hook_and_bases_of_ones_own_are_left_alone() -> None:
    class Base(LivePipeline):
        def process_frame(self, frame: Any) -> Any:
            return frame

        def predict(self, frame: Any) -> Any:
            return frame

        def setup(self) -> None: ...

    class Live(Base):
        def process_video(self, frame: Any) -> Any:
            return self.process_frame(frame)

        def setups(self) -> None:
            """`setup` is there: this is no misspelling of it."""

        def _teardowns(self) -> None: ...

    class Batch(Pipeline):
        def predict(self, text: str) -> str:
            return text

        def predict_one(self) -> None: ...
        def generate(self) -> None: ...
        def process_video(self) -> None: ...

    class Relay(LivePipeline):
        def on_stream_start(self, params: Any) -> None: ...

    for cls in (Live, Batch, Relay):
        create_app(cls, PLAIN)


def test_prepare_models_without_classmethod_is_refused_where_it_is_written() -> None:
    with pytest.raises(SignatureError, match="write `@classmethod` above it"):

        class Forgot(Pipeline):
            def prepare_models(self) -> None: ...  # type: ignore[override]

    class Fine(Pipeline):
        @staticmethod
        def prepare_models() -> None: ...  # type: ignore[override]


@pytest.mark.parametrize("name", ["setup", "teardown", "warm_up"])
def test_a_hook_that_cannot_be_called_is_refused(name: str) -> None:
    def no_self() -> None: ...

    cls = type("Live", (LivePipeline,), {name: no_self})
    with pytest.raises(SignatureError, match=rf"write `def {name}\(self\)`"):
        create_app(cls, PLAIN)
