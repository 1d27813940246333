"""Our errors for those of the transport, by their causes: said once for all who speak HTTP."""

from __future__ import annotations

import os
import re
import socket
import ssl
from typing import Any

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
from livepeer.trickle.exceptions import CertificateError as PinError
from livepeer.trickle.exceptions import ProtocolError as NoHTTP
from livepeer.trickle.exceptions import TrickleError
from livepeer.trickle.http.call import HTTPCall
from livepeer.trickle.text import printable


def translate(
    error: TrickleError, call: HTTPCall, *, job: bool, named: dict[str, Any]
) -> LivepeerError:
    """Our error for what became of `call`. `job`: it has effects."""
    host = origin(call.url)
    if call.bad_body:
        why = error.__cause__
        told = f": {type(why).__name__}: {printable(str(why), 200)}" if why is not None else ""
        return ConnectionFailedError(
            f"the body of the request broke off{told}", may_have_run=job, **named
        )
    if isinstance(error, NoHTTP):
        if not call.sent:
            return uncallable(call.url, named)
        return ProtocolError(
            f"{host} did not answer in HTTP: {printable(error.message, 200)}",
            may_have_run=job,
            **named,
        )
    if not call.sent:
        return unreached(error, call.url, named)
    if call.status:
        return ConnectionFailedError(
            f"the answer of {host} broke off in the middle", may_have_run=job, **named
        )
    return ended(call.url, job=job, named=named)


def unreached(error: BaseException, url: str, named: dict[str, Any]) -> LivepeerError:
    """Nothing has left: there was no connection, or none to whom it was meant for."""
    host, cause = origin(url), error.__cause__
    match error:
        case TrickleError() if isinstance(cause, OSError) and (
            not isinstance(error, PinError) or isinstance(cause, ssl.SSLCertVerificationError)
        ):
            return unreached(cause, url, named)
        case PinError() if cause is not None:
            return CertificateError(f"{host} was asked nothing: {error.message}", **named)
        case PinError():
            return CertificateChangedError(
                f"{error.message}. If you know that {host} was restarted (go-livepeer makes a new"
                f" certificate at each start), accept the new one with: livepeer trust {host}",
                **named,
            )
        case ssl.SSLCertVerificationError():
            return CertificateError(
                f"the certificate of {host} could not be verified: {error.verify_message}."
                " Orchestrators sign their own: tls='pin' (--tls pin, LIVEPEER_TLS=pin) trusts the"
                " one shown first",
                **named,
            )
        case ssl.SSLError():
            return CertificateError(
                f"no TLS with {host}: {error}. Does it serve plain http:// there?", **named
            )
        case socket.gaierror():
            return ConnectionFailedError(f"the host name of {host} does not resolve", **named)
    return ConnectionFailedError(
        f"no connection to {host}: {_reason(error)}. Is it running, and is the address right?",
        **named,
    )


def _reason(error: BaseException) -> str:
    if isinstance(error, TrickleError):
        return error.message
    # A name with several addresses: asyncio tells of each, and they mostly have the same.
    told = str(error) or type(error).__name__
    numbers = {error.errno} if isinstance(error, OSError) and error.errno else None
    numbers = numbers or {int(each) for each in re.findall(r"\[Errno (\d+)\]", told)}
    return os.strerror(numbers.pop()) if len(numbers) == 1 else told


def ended(url: str, *, job: bool, named: dict[str, Any]) -> ConnectionFailedError:
    """Whoever was asked has gone without an answer."""
    hint = ". If it speaks TLS, its address begins with https://"
    return ConnectionFailedError(
        f"{origin(url)} ended the connection before it answered"
        f"{hint if url.startswith('http://') else ''}",
        may_have_run=job,
        **named,
    )


def uncallable(url: str, named: dict[str, Any]) -> ConfigurationError:
    return ConfigurationError(f"{shown_url(url)!r} is not a URL that can be called", **named)


def unsendable(place: str, error: Exception, named: dict[str, Any]) -> ConfigurationError:
    # Its text may quote all that was to be sent.
    told = printable(str(error), 200)
    return ConfigurationError(f"{place} cannot be asked: {told}", **named)
