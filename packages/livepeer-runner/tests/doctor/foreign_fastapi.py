"""A container as go-livepeer's BYOC guide shows one: a hand-made FastAPI app behind uvicorn.

Its faults are those of such containers: a slash redirects, and uvicorn closes idle connections
after five seconds (here: one).
"""

from __future__ import annotations

import socket
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel


class Job(BaseModel):
    text: str


app = FastAPI()


@app.get("/health")
async def health() -> dict[str, str]:
    return {"status": "OK"}


@app.post("/text-reversal")
async def text_reversal(job: Job) -> dict[str, Any]:
    return {"original": job.text, "reversed": job.text[::-1]}


if __name__ == "__main__":
    listener = socket.create_server(("127.0.0.1", 0))
    print(f"127.0.0.1:{listener.getsockname()[1]}", flush=True)
    config = uvicorn.Config(app, log_level="warning", timeout_keep_alive=1)
    uvicorn.Server(config).run(sockets=[listener])
