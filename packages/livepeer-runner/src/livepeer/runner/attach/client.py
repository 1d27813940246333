"""Requests to one orchestrator, as every registry makes them, and what is read of the answers."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import Any, Self

import aiohttp
from yarl import URL

from livepeer.runner.redaction import Redactor, without_userinfo
from livepeer.runner.settings import OrchestratorAddress, Secret
from livepeer.trickle.exceptions import CertificateError
from livepeer.trickle.tls.aiohttp_pin import Pin

TLS = Pin | ssl.SSLContext | bool
_MOST_TEXT = 64 * 1024


class Unreachable(Exception):
    """No answer came; the text says why, and what to do where that is known."""


@dataclass(frozen=True, slots=True)
class RegistryAnswer:
    """What an orchestrator answered, as far as it matters; `text` holds none of our secrets."""

    status: int
    text: str = ""
    location: str | None = None

    @property
    def said(self) -> str:
        """Status and text in one short line."""
        return f"{self.status} {' '.join(self.text.split())[:200]}".strip()

    def failure(self) -> tuple[str, bool]:
        """Why a registration was not taken, and whether that is final.

        For what means the same at every registry; a registry looks at its own statuses first.
        """
        match self.status:
            case 400 if "HTTPS server" in self.text:
                return "it speaks https: write https:// in LIVEPEER_ORCH_URL", True
            case status if 300 <= status < 400:
                # The secret goes to nobody but the address that the operator wrote.
                target = self.location or "another address"
                return f"it redirects to {target}: set LIVEPEER_ORCH_URL to that", True
            case 408 | 425 | 429:
                return f"the orchestrator answered {self.said}", False
            case status if 400 <= status < 500:
                return f"the orchestrator refused the registration: {self.said}", True
            case _:
                return f"the orchestrator answered {self.said}", False


class RegistryClient:
    """Asks one orchestrator, over one connection that is kept open between requests.

    That it is kept tells an orchestrator that was away from one that was here all the time: only
    the former may come with a new certificate.
    """

    def __init__(
        self,
        address: OrchestratorAddress,
        *,
        tls: TLS,
        timeout: float,
        token: Secret | None = None,
    ) -> None:
        self._address = address
        self._redacted = Redactor([address.secret, *([token] if token is not None else [])])
        self._tls = tls
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._url = URL(address.url)
        self._met = False

    async def __aenter__(self) -> Self:
        trace = aiohttp.TraceConfig()
        trace.on_connection_create_start.append(self._connecting)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=1, keepalive_timeout=3600, ssl=self._tls),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": "livepeer-runner"},
            timeout=self._timeout,
            trace_configs=[trace],
        )
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._session.close()

    async def _connecting(self, *_: object) -> None:
        if self._met:
            self._lost()

    def _lost(self) -> None:
        if isinstance(self._tls, Pin) and self._url.host is not None:
            self._tls.lost(self._url.host, self._url.port or 443)

    async def ask(self, method: str, path: str, **request: Any) -> RegistryAnswer:
        """One request, its answer read to 64 KiB. Raises `Unreachable`."""
        try:
            async with self._session.request(
                method, self._address.url + path, allow_redirects=False, **request
            ) as response:
                self._met = True
                body = bytearray()
                async for chunk in response.content.iter_any():
                    body += chunk
                    if len(body) > _MOST_TEXT:
                        break
                # It may echo what we sent it, and what it says is shown in the log and `/health`.
                text = self._redacted(body.decode("utf-8", "replace"))
                location = response.headers.get("Location")
                return RegistryAnswer(
                    response.status,
                    text,
                    None if location is None else without_userinfo(self._redacted(location))[:200],
                )
        except aiohttp.ServerFingerprintMismatch as error:
            raise Unreachable(self._certificate_changed(error)) from error
        except aiohttp.ClientConnectorCertificateError as error:
            raise Unreachable(
                f"its certificate cannot be verified ({error.certificate_error}); "
                f"go-livepeer makes its own: set LIVEPEER_TLS=pin"
            ) from error
        except aiohttp.ClientSSLError as error:
            raise Unreachable(
                f"it does not speak TLS as expected ({error}); is it an http:// address?"
            ) from error
        except TimeoutError as error:
            self._lost()
            raise Unreachable(f"no answer within {self._timeout.total:g} s") from error
        except aiohttp.ClientConnectorError as error:
            self._lost()
            raise Unreachable(f"cannot connect: {error.os_error}") from error
        except aiohttp.ServerDisconnectedError as error:
            self._lost()
            raise Unreachable("it closed the connection without an answer") from error
        except (aiohttp.ClientError, CertificateError, OSError, ValueError) as error:
            self._lost()
            # aiohttp quotes the line that it could not read.
            reason = self._redacted(f"{type(error).__name__}: {error}")
            raise Unreachable(" ".join(reason.split())[:400]) from None

    def _certificate_changed(self, error: aiohttp.ServerFingerprintMismatch) -> str:
        return (
            f"{error}. To trust the new certificate restart this container; "
            f"LIVEPEER_TLS=verify takes one that an authority signed, LIVEPEER_TLS=insecure any"
        )
