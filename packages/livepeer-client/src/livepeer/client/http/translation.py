"""Our errors for aiohttp's, said once for all who speak HTTP."""

from __future__ import annotations

import os
from typing import Any

import aiohttp

from livepeer.client.exceptions import (
    CertificateChangedError,
    CertificateError,
    ConfigurationError,
    ConnectionFailedError,
    LivepeerError,
    ProtocolError,
)
from livepeer.client.http.tls import origin
from livepeer.client.untrusted import shown_url
from livepeer.trickle.text import printable


def translate(
    error: Exception, url: str, *, job: bool, named: dict[str, Any], begun: bool = False
) -> LivepeerError:
    """Our error for one of aiohttp's; `begun`: an answer had already begun."""
    host = origin(url)
    match error:
        case aiohttp.ServerFingerprintMismatch() if not getattr(error, "changed", True):
            return CertificateError(f"{host} was asked nothing: {error}", **named)
        case aiohttp.ServerFingerprintMismatch():
            return CertificateChangedError(
                f"{error}. If you know that {host} was restarted (go-livepeer makes a new"
                f" certificate at each start), accept the new one with: livepeer trust {host}",
                **named,
            )
        case aiohttp.ClientConnectorCertificateError():
            why = getattr(error.certificate_error, "verify_message", "") or error.certificate_error
            return CertificateError(
                f"the certificate of {host} could not be verified: {why}. Orchestrators sign their"
                " own: tls='pin' (--tls pin, LIVEPEER_TLS=pin) trusts the one shown first",
                **named,
            )
        case aiohttp.ClientConnectorSSLError():
            return CertificateError(
                f"no TLS with {host}: {error.os_error}. Does it serve plain http:// there?", **named
            )
        case aiohttp.ClientConnectorDNSError():
            return ConnectionFailedError(f"the host name of {host} does not resolve", **named)
        case aiohttp.ClientConnectorError():
            number = error.os_error.errno
            why = os.strerror(number) if number else str(error.os_error)
            return ConnectionFailedError(
                f"no connection to {host}: {why}. Is it running, and is the address right?", **named
            )
        case aiohttp.InvalidURL():
            return ConfigurationError(
                f"{shown_url(url)!r} is not a URL that can be called", **named
            )
        case aiohttp.ClientPayloadError():
            return ConnectionFailedError(
                f"the answer of {host} broke off in the middle", may_have_run=job, **named
            )
        case aiohttp.ClientResponseError():
            return ProtocolError(
                f"{host} did not answer in HTTP: {printable(error.message, 200)}",
                may_have_run=job,
                **named,
            )
        case _:
            when = "in the middle of its answer" if begun else "before it answered"
            plain = url.startswith("http://") and not begun
            hint = ". If it speaks TLS, its address begins with https://" if plain else ""
            return ConnectionFailedError(
                f"{host} ended the connection {when}{hint}", may_have_run=job, **named
            )


def unsendable(place: str, error: Exception, named: dict[str, Any]) -> ConfigurationError:
    # Its text may quote all that was to be sent.
    told = printable(str(error), 200)
    return ConfigurationError(f"{place} cannot be asked: {told}", **named)
