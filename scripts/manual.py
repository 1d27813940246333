"""Assembles the manual: `llms.txt`, `llms-full.txt`, what `livepeer docs` prints, and the site.

manual.py            writes the generated files
manual.py --check    fails where one is stale, or a link leads nowhere
manual.py --pages F  writes every page into the folder F, for the site
"""

from __future__ import annotations

import argparse
import functools
import importlib
import inspect
import os
import re
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
REPOSITORY = "https://github.com/livepeer/livepeer-python/blob/main/"
PACKAGED = ROOT / "packages/livepeer-trickle/src/livepeer/trickle/cli/manual"
ABOUT = (
    "Write AI as one Python class, run it as a container that joins the Livepeer network, and "
    "call it: requests, event streams, live video."
)
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
FENCE = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Page:
    section: str
    name: str
    """Its path in the site."""
    source: str
    """Its file in the repository; empty for a reference made of docstrings."""
    about: str = ""


PAGES = (
    Page("Begin", "index.md", "docs/index.md", "where to begin"),
    Page("Tutorials", "tutorials/request.md", "docs/tutorials/request.md", "an input, an answer"),
    Page("Tutorials", "tutorials/stream.md", "docs/tutorials/stream.md", "events as they are made"),
    Page(
        "Tutorials",
        "tutorials/live-video.md",
        "docs/tutorials/live-video.md",
        "pictures in, pictures out",
    ),
    Page(
        "Tutorials",
        "tutorials/live-audio.md",
        "docs/tutorials/live-audio.md",
        "sound in, sound out",
    ),
    Page(
        "Tutorials",
        "tutorials/generate.md",
        "docs/tutorials/generate.md",
        "live video out of nothing",
    ),
    Page(
        "Tutorials",
        "tutorials/agents.md",
        "docs/tutorials/agents.md",
        "livepeer mcp: tools for agents",
    ),
    Page(
        "How to", "how-to/weights.md", "docs/how-to/weights.md", "fetched at build, loaded at start"
    ),
    Page("How to", "how-to/gpu.md", "docs/how-to/gpu.md", "CUDA, sharing a GPU"),
    Page(
        "How to",
        "how-to/batching.md",
        "docs/how-to/batching.md",
        "several callers, one call of the model",
    ),
    Page("How to", "how-to/prices.md", "docs/how-to/prices.md", "who sets them, who bounds them"),
    Page(
        "How to",
        "how-to/live-parameters.md",
        "docs/how-to/live-parameters.md",
        "changed while a stream runs",
    ),
    Page(
        "How to",
        "how-to/testing.md",
        "docs/how-to/testing.md",
        "real HTTP, real encoding, in a test",
    ),
    Page(
        "How to",
        "how-to/production.md",
        "docs/how-to/production.md",
        "versions, digests, joining, bounds",
    ),
    Page(
        "How to",
        "how-to/coming-from.md",
        "docs/how-to/coming-from.md",
        "Cog, Replicate, fal, Modal",
    ),
    Page("Guides", "images.md", "docs/images.md", "livepeer build and push"),
    Page(
        "Guides", "operators.md", "docs/operators.md", "running containers, joining orchestrators"
    ),
    Page("Guides", "paying.md", "docs/paying.md", "prices, limits, keys"),
    Page("Guides", "bench.md", "docs/bench.md", "what a pipeline bears"),
    Page("Guides", "runner.md", "packages/livepeer-runner/README.md", "everything a class may say"),
    Page("Guides", "client.md", "packages/livepeer-client/README.md", "run, stream, live, session"),
    Page(
        "Guides",
        "trickle.md",
        "packages/livepeer-trickle/README.md",
        "the transport, frames, codecs",
    ),
    Page("Guides", "examples.md", "examples/README.md", "pipelines with real models"),
    Page("Guides", "errors.md", "docs/errors/README.md", "every error by its code"),
    Page("Reference", "reference/runner.md", "", "livepeer.runner"),
    Page("Reference", "reference/testing.md", "", "livepeer.runner.testing"),
    Page("Reference", "reference/client.md", "", "livepeer.client"),
    Page("Reference", "reference/trickle.md", "", "livepeer.trickle"),
    Page("Optional", "contract/container.md", "specs/container.md", "what a container answers"),
    Page("Optional", "contract/live.md", "specs/live.md", "live streams on the wire"),
    Page("Optional", "contract/calling.md", "specs/calling.md", "how a call finds its way"),
    Page("Optional", "contract/trickle.md", "specs/trickle.md", "the transport on the wire"),
    Page(
        "Optional",
        "contract/conformance.md",
        "specs/conformance.md",
        "what livepeer doctor judges by",
    ),
    Page("Optional", "contract/evolution.md", "specs/evolution.md", "which changes break callers"),
    Page("Optional", "contract/identity.md", "specs/identity.md", "names, versions, digests"),
    Page("Optional", "contract/images.md", "specs/images.md", "labels and normal form of an image"),
    Page("Optional", "architecture.md", "docs/architecture.md", "the rooms of the code"),
)
ERRORS = tuple(
    Page("Errors", f"errors/{path.name}", f"docs/errors/{path.name}")
    for path in sorted((ROOT / "docs/errors").glob("*.md"))
    if path.name != "README.md"
)
"""A page for each code, in the site only: `livepeer explain` and `livepeer docs errors/CODE` have
them from where they were made."""
BY_SOURCE = {page.source: page.name for page in (*PAGES, *ERRORS) if page.source}


def text_of(page: Page) -> str:
    """The page as the site has it. Raises `ValueError` for a link that leads nowhere."""
    if not page.source:
        return reference(page.about)
    text = (ROOT / page.source).read_text(encoding="utf-8")
    parts = FENCE.split(text)
    parts[::2] = [LINK.sub(lambda found: link(page, found), part) for part in parts[::2]]
    return "".join(parts)


def link(page: Page, found: re.Match[str]) -> str:
    bang, words, target = found.groups()
    there = resolved(page.source, target)
    path, mark, anchor = target.partition("#")
    if there is None or not path:
        return found[0]
    inside = os.path.relpath(there, ROOT)
    if os.path.isdir(there) and f"{inside}/README.md" in BY_SOURCE:
        inside += "/README.md"
    if inside in BY_SOURCE:
        near = os.path.relpath(BY_SOURCE[inside], os.path.dirname(page.name) or ".")
        return f"{bang}[{words}]({near}{mark}{anchor})"
    address = REPOSITORY.replace("/blob/", "/raw/") if bang else REPOSITORY
    return f"{bang}[{words}]({address}{inside}{mark}{anchor})"


def resolved(source: str, target: str) -> Path | None:
    """What a link in that file leads to; None for another host's.

    Raises `ValueError` where there is no such file in the repository, or no such heading in it.
    """
    path, _, anchor = target.partition("#")
    if "://" in target or target.startswith("mailto:"):
        return None
    there = Path(os.path.normpath(ROOT / Path(source).parent / path)) if path else ROOT / source
    if not there.exists() or not there.is_relative_to(ROOT):
        raise ValueError(f"{source}: {target} leads nowhere")
    if anchor and there.suffix == ".md" and anchor not in anchors(there):
        raise ValueError(f"{source}: {target}: there is no such heading")
    return there


@functools.cache
def anchors(file: Path) -> frozenset[str]:
    """What the headings of a file are linked by, as GitHub makes it."""
    prose = "".join(FENCE.split(file.read_text(encoding="utf-8"))[::2])
    found: Counter[str] = Counter()
    made = set(re.findall(r"<a (?:id|name)=\"([^\"]+)\"", prose))
    for heading in re.findall(r"^#{1,6} (.+?)\s*$", prose, re.MULTILINE):
        words = re.sub(r"[^\w\- ]", "", LINK.sub(r"\2", heading)).strip().lower()
        slug = words.replace(" ", "-")
        made.add(f"{slug}-{found[slug]}" if found[slug] else slug)
        found[slug] += 1
    return frozenset(made)


def reference(name: str) -> str:
    """What a package's root has, from its docstrings."""
    module = importlib.import_module(name)
    parts = [f"# {name}", inspect.getdoc(module) or ""]
    for each in sorted(module.__all__):
        value = getattr(module, each)
        if inspect.ismodule(value):
            continue
        parts.append(f"## {each}")
        if inspect.isclass(value):
            parts.append(described(value, each))
            parts += methods(value)
        elif callable(value):
            parts.append(described(value, each))
    return "\n\n".join(filter(None, parts)) + "\n"


def described(value: Any, name: str) -> str:
    try:
        shown = f"{name}{inspect.signature(value)}"
    except (TypeError, ValueError):
        shown = name
    shown = re.sub(r" at 0x[0-9a-f]+", "", re.sub(r"<factory>|<object object[^>]*>", "...", shown))
    about = inspect.getdoc(value) or ""
    about = "" if about.startswith(f"{name}(") else about  # a dataclass's own
    return f"```text\n{shown}\n```\n\n{about}".strip()


def methods(cls: type) -> list[str]:
    found = []
    for name, value in sorted(vars(cls).items()):
        raw = value.__func__ if isinstance(value, (classmethod, staticmethod)) else value
        if name.startswith("_") or not (inspect.isfunction(raw) or isinstance(raw, property)):
            continue
        if isinstance(raw, property):
            about = inspect.getdoc(raw)
            if about:
                found.append(f"### {cls.__name__}.{name}\n\n{about}")
        elif inspect.getdoc(raw):
            found.append(f"### {cls.__name__}.{name}\n\n{described(raw, name)}")
    return found


def title(text: str, name: str) -> str:
    found = re.search(r"^# (.+)$", text, re.MULTILINE)
    return found[1].strip() if found else name


def index(texts: dict[str, str], *, site: bool) -> str:
    """`llms.txt`, as llmstxt.org has it: its links lead to the site's pages, or to the sources."""
    lines = ["# Livepeer Python SDK", "", f"> {ABOUT}", ""]
    lines += [
        "All pages in one file: [llms-full.txt](llms-full.txt). Offline: `livepeer docs`.",
        "",
    ]
    section = ""
    for page in PAGES:
        if not site and not page.source:
            continue  # made of docstrings: it stands in llms-full.txt
        if page.section != section:
            section = page.section
            lines += ["", f"## {section}", ""] if lines[-1] else [f"## {section}", ""]
        address = page.name if site else f"{REPOSITORY.replace('/blob/', '/raw/')}{page.source}"
        lines.append(f"- [{title(texts[page.name], page.name)}]({address}): {page.about}")
    return "\n".join(lines) + "\n"


def whole(texts: dict[str, str]) -> str:
    """`llms-full.txt`: each page after a line that names it."""
    pages = (f"<!-- page: {page.name} -->\n\n{texts[page.name].strip()}\n" for page in PAGES)
    return "\n".join(pages)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--pages", type=Path)
    arguments = parser.parse_args()
    try:
        texts = {page.name: text_of(page) for page in PAGES}
    except ValueError as error:
        sys.exit(f"Error: {error}")
    made = {"llms.txt": index(texts, site=False), "llms-full.txt": whole(texts)}
    if arguments.pages is not None:
        made["llms.txt"] = index(texts, site=True)
        errors = {page.name: text_of(page) for page in ERRORS}
        for name, text in {**texts, **errors, **made}.items():
            path = arguments.pages / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return
    stale = []
    for folder in (ROOT, PACKAGED):
        for name, text in made.items():
            path = folder / name
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                stale.append(str(path.relative_to(ROOT)))
                if not arguments.check:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_text(text, encoding="utf-8")
    if arguments.check and stale:
        sys.exit(f"stale: {', '.join(stale)}: run scripts/docs")
    for each in stale:
        print(f"-> {each}")


if __name__ == "__main__":
    main()
