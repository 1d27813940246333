"""`python3 fetch_pip.py FOLDER`: pip for a Python that came without it, as Debian's does.

Takes the newest wheel of pip from PIP_INDEX_URL, else PyPI, checks its sha256, and prints the path
to run it from: `python3 PATH install ...`. Standard library only.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from html import unescape
from pathlib import Path
from urllib.parse import urljoin, urlsplit
from urllib.request import urlopen

TIMEOUT = 60
WHEEL = re.compile(r'href="([^"]*/(pip-([0-9.]+)-py3-none-any\.whl)[^"#]*)#sha256=([0-9a-f]{64})"')


def main() -> None:
    index = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/") + "/pip/"
    with urlopen(index, timeout=TIMEOUT) as answer:
        page = unescape(answer.read().decode())
    wheels = WHEEL.findall(page)
    if not wheels:
        sys.exit(f"{urlsplit(index).hostname} has no pip")
    link, name, _, digest = max(wheels, key=lambda found: [int(n) for n in found[2].split(".")])
    with urlopen(urljoin(index, link), timeout=TIMEOUT) as answer:
        wheel = answer.read()
    if hashlib.sha256(wheel).hexdigest() != digest:
        sys.exit(f"{name} is not what the index says it is")
    file = Path(sys.argv[1], name)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(wheel)
    print(file / "pip")


if __name__ == "__main__":
    main()
