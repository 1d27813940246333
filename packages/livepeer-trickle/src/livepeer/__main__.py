"""`python -m livepeer`: the `livepeer` command, where its script is not on PATH."""

from __future__ import annotations

from livepeer.trickle.cli import main

if __name__ == "__main__":
    main()
