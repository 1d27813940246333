"""Requests on the page: forms of every type, errors at their field, results as what they are."""

import ast
import shutil
from pathlib import Path
from typing import Any

import pytest

from .conftest import Lines, Network, Open

pytestmark = pytest.mark.browser
DONE = "() => / s$/.test(document.querySelector('[role=status].quiet').textContent)"


def run(page: Any) -> None:
    page.get_by_role("button", name="Run", exact=True).click()


def told(page: Any) -> dict[str, Any]:
    page.wait_for_function(DONE)
    given: dict[str, Any] = ast.literal_eval(page.inner_text(".result dd:first-of-type"))
    return given


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    from PIL import Image

    path = tmp_path / "a picture.png"
    Image.new("RGB", (40, 30), (200, 30, 30)).save(path)
    return path


def test_a_form_of_every_type_goes_to_the_pipeline_and_back(
    local: Network, tab: Open, picture: Path, tmp_path: Path
) -> None:
    page = tab(f"{local.page}#forms")
    page.wait_for_selector("form")
    run(page)
    given = told(page)
    assert given["text"] == "a text" and given["shape"] == {"kind": "circle", "radius": 1.0}
    assert given["tags"] == ["x"] and given["scores"] == {"a": 1} and given["seed"] is None

    page.get_by_label("Text").fill("two\nlines \N{SNOWMAN}")
    page.get_by_label("Line", exact=True).fill('<b>"quoted"</b>')
    page.get_by_label("Secret").fill("hidden")
    page.get_by_label("Number").fill("-12")
    page.get_by_label("Share, exactly").fill("0.25")
    page.get_by_role("switch", name="On", exact=True).uncheck()
    page.get_by_text("two", exact=True).click()
    page.get_by_label("Many").select_option(label="d")
    page.get_by_label("Shape").select_option(label="Square")
    page.get_by_label("Side").fill("3")
    page.get_by_role("switch", name="Bold").check()
    page.get_by_label("Width, exactly").fill("9")
    page.get_by_role("button", name="Add to tags").click()
    page.get_by_label("Tags 2", exact=True).fill("y")
    page.get_by_role("button", name="Remove Tags 1").click()
    page.get_by_role("switch", name="Seed optional").check()
    page.locator("[data-field=seed] input[type=number]").fill("0")
    page.get_by_role("switch", name="Image optional").check()
    page.locator("[data-field=image] input[type=file]").set_input_files(str(picture))
    (tmp_path / "raw.bin").write_bytes(b"raw bytes")
    page.get_by_role("switch", name="Raw optional").check()
    page.locator("[data-field=raw] input[type=file]").set_input_files(str(tmp_path / "raw.bin"))
    page.wait_for_selector("[data-field=image] .preview img")
    page.wait_for_selector("[data-field=raw] .preview p")
    run(page)
    page.wait_for_selector(".result img")
    assert told(page) == {
        "text": "two\nlines \N{SNOWMAN}",
        "line": '<b>"quoted"</b>',
        "secret": "hidden",
        "number": -12,
        "share": 0.25,
        "on": False,
        "few": "two",
        "many": "d",
        "shape": {"kind": "square", "side": 3},
        "style": {"bold": True, "width": 9},
        "tags": ["y"],
        "scores": {"a": 1},
        "seed": 0,
        "image": picture.stat().st_size,
        "raw": "raw bytes",
    }
    assert page.evaluate("() => document.querySelector('.result img').naturalWidth") == 40
    assert page.locator(".result table tbody tr").count() == 2


def test_an_error_lands_at_its_field_and_goes_with_the_next_call(local: Network, tab: Open) -> None:
    page = tab(f"{local.page}#forms")
    page.wait_for_selector("form")
    page.get_by_label("Number").fill("1.5")
    page.get_by_label("Text").fill("x" * 400)
    page.get_by_label("Width, exactly").fill("99")
    run(page)
    page.wait_for_selector("[data-field=number] .error:not([hidden])")
    assert "integer" in page.inner_text("[data-field=number] .error")
    assert "20" in page.inner_text("[data-field=width] .error")
    assert page.evaluate("() => document.activeElement.getAttribute('aria-invalid')") == "true"
    page.get_by_label("Number").fill("1")
    page.get_by_label("Width, exactly").fill("9")
    page.get_by_label("Text").fill("bad")
    run(page)
    page.wait_for_selector("[data-field=text] .error:not([hidden])")
    assert page.inner_text("[data-field=text] .error") == "there is no bad text"
    assert page.query_selector("[data-field=number] .error:not([hidden])") is None
    page.get_by_label("Text").fill("good")
    run(page)
    assert told(page)["number"] == 1


def test_text_streams_in_and_sound_is_a_player(local: Network, tab: Open) -> None:
    page = tab(f"{local.page}#spell")
    page.wait_for_selector("form")
    page.get_by_label("Word").fill("letters")
    run(page)
    page.wait_for_function(DONE)
    assert page.inner_text(".growing .text") == "letters"
    page.get_by_label("Pipeline").select_option(label="hum")
    page.wait_for_selector("[data-field=seconds]")
    run(page)
    page.wait_for_selector(".result audio")


def test_the_call_as_code_is_true(
    local: Network, tab: Open, picture: Path, tmp_path: Path, home: Path
) -> None:
    page = tab(f"{local.page}#forms")
    page.wait_for_selector("form")
    page.get_by_label("Line", exact=True).fill('it\'s $HOME `x` "y"')
    page.get_by_role("switch", name="Image optional").check()
    page.locator("[data-field=image] input[type=file]").set_input_files(str(picture))
    page.wait_for_function(
        "() => document.querySelector('#code-panel').textContent.includes('a picture.png')"
    )
    lines = Lines(page, tmp_path, home)
    titles = ["Python", "Shell", *(["curl"] if shutil.which("curl") else [])]
    for title in titles:
        said = lines.run(title).replace("\\", "")
        assert f"'image': {picture.stat().st_size}" in said and "it's $HOME `x`" in said, said
