"""The files that `livepeer init` writes: `common` and one folder for each template.

`$Class`, `$id` and the like are filled in. The files end in `.tmpl`, so that no tool takes them for
code of this package.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from string import Template

ENDING = ".tmpl"
WORKFLOWS = {"github": ".github/workflows"}

_CURL = """Another shell calls it:

```
curl -s localhost:8000/predict -d '{body}'
```"""
_LIVE = """It takes live streams from an orchestrator. A clip is enough to try it:
`livepeer predict -i in.mp4 -o out.mp4`, with parameters as `-p {param}`."""


@dataclass(frozen=True, slots=True)
class TemplateTexts:
    """One template: what it is, arguments for `livepeer predict`, and how it is called."""

    about: str
    input: str
    call: str


SKILL = ".agents/skills/livepeer-pipeline/SKILL.md"

KINDS = {
    "batch": TemplateTexts(
        "Tells whether a text is positive or negative.",
        '-i text="I love it"',
        _CURL.format(body='{"text": "I love it"}'),
    ),
    "stream": TemplateTexts(
        "Answers a prompt, word by word.",
        '-i prompt="hello"',
        _CURL.replace("-s", "-sN").format(body='{"prompt": "hello"}'),
    ),
    "image": TemplateTexts(
        "Makes a picture of few colours out of any.",
        "-i image=@in.png -i colours=4 -o out.png",
        "Another shell calls it:\n\n```\n"
        "curl -s localhost:8000/predict -F image=@in.png -F colours=4 -o out.png\n```",
    ),
    "live-video": TemplateTexts(
        "Gives a live video one colour.",
        "-i in.mp4 -o out.mp4 -p u=90",
        _LIVE.format(param="u=90"),
    ),
    "live-audio": TemplateTexts(
        "Makes a live stream's sound louder or quieter.",
        "-i in.mp4 -o out.mp4 -p gain=0.5",
        _LIVE.format(param="gain=0.5"),
    ),
    "live-data": TemplateTexts(
        "Watches a live video and reports how bright it is.",
        "-i in.mp4 -p every=15",
        _LIVE.format(param="every=15"),
    ),
    "generate": TemplateTexts(
        "Makes a live video out of nothing: stripes that move.",
        "--seconds 3 -o out.mp4 -p speed=8",
        "It gives a live stream without input, for as long as its caller wants it. A few seconds\n"
        "are enough to try it: `livepeer predict --seconds 3 -o out.mp4`, with parameters as\n"
        "`-p speed=8`.",
    ),
}


def render(kind: str, values: dict[str, str]) -> dict[str, str]:
    """The files of a template by name, filled in."""
    return _filled("common", values) | _filled(kind, values)


def agents(values: dict[str, str]) -> dict[str, str]:
    """The skill for coding agents, by where they look for it."""
    return {SKILL: _filled("agents", values)["SKILL.md"]}


def beside_example(values: dict[str, str]) -> dict[str, str]:
    """What a copied example has besides its own files."""
    common = _filled("common", values)
    kept = {name: common[name] for name in (".gitignore", "AGENTS.md", "CLAUDE.md")}
    return kept | _filled("example", values)


def workflow(host: str, values: dict[str, str]) -> dict[str, str]:
    """The file that a host of repositories runs for each change, by where it is kept."""
    folder = WORKFLOWS[host]
    return {f"{folder}/{name}": text for name, text in _filled(f"ci-{host}", values).items()}


def _filled(folder: str, values: dict[str, str]) -> dict[str, str]:
    return {
        entry.name.removesuffix(ENDING): Template(entry.read_text(encoding="utf-8")).substitute(
            values
        )
        for entry in files(__name__).joinpath(folder).iterdir()
        if entry.name.endswith(ENDING)
    }
