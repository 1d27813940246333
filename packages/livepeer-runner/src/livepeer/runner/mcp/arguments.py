"""Arguments that several tools have, as an agent is told of them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

PipelineArgument = Annotated[
    str,
    Field(description="A folder with a pipeline, pipeline.py, or pipeline.py:Class; default: '.'."),
]
Seconds = Annotated[float, Field(gt=0, le=3600, description="Seconds that it may take.")]
Output = Annotated[
    str | None, Field(description="A file within the root in which the result is kept.")
]
Target = Annotated[
    str,
    Field(
        description="A pipeline (folder, pipeline.py, pipeline.py:Class), or the URL of a "
        "container that runs; default: '.'."
    ),
]
