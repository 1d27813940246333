"""The certificate and the secret of the local orchestrator, for this user while it runs."""

from __future__ import annotations

import asyncio
import os
import ssl
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from livepeer.trickle.cli.console import fail, note
from livepeer.trickle.exceptions import CertificateError
from livepeer.trickle.tls.pins import PinStore, fingerprint, pins_path


@asynccontextmanager
async def pinned(url: str) -> AsyncIterator[None]:
    """Clients that pin (`tls="pin"`) trust the orchestrator at `url`, which this process runs.

    Its certificate is made anew at each start, which they would refuse as a change. What was
    pinned for that port before is put back at the end.
    """
    parts = urlsplit(url)
    if parts.scheme != "https":
        yield
        return
    host, port = parts.hostname or "", parts.port or 443
    store = PinStore(pins_path())
    try:
        shown = await asyncio.to_thread(ssl.get_server_certificate, (host, port), timeout=10)
    except OSError as error:
        fail(f"the certificate of {url} cannot be had: {error}", code=2)
    known = fingerprint(ssl.PEM_cert_to_DER_cert(shown))
    with ExitStack() as stack:
        try:
            before = store.get(host, port)
            store.set(host, port, known)
        except CertificateError as error:
            fail(f"the certificate of {url} cannot be pinned: {error}", code=2)
        except OSError as error:
            # A home that is read-only, or none: this process and its own keep it elsewhere.
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="livepeer-dev-"))
            elsewhere = os.path.join(folder, "pins.json")
            note(
                f"{store.path} cannot be written ({error.strerror}): a client in another terminal "
                f"needs LIVEPEER_PINS={elsewhere}"
            )
            os.environ["LIVEPEER_PINS"] = elsewhere
            stack.callback(os.environ.pop, "LIVEPEER_PINS")
            store, before = PinStore(elsewhere), None
            store.set(host, port, known)
        try:
            yield
        finally:
            if before is None:
                store.forget(host, port)
            else:
                store.set(host, port, before)


@contextmanager
def kept(secret: str) -> Iterator[str]:
    """The path of a file with the secret, so that a printed line can name it and never shows it."""
    with tempfile.TemporaryDirectory(prefix="livepeer-dev-") as folder:
        path = Path(folder, "secret")
        path.touch(mode=0o600)
        path.write_text(secret)
        yield str(path)
