"""`ImageRegistry`: manifests and blobs of one registry, each checked against its digest.

The API is that of the OCI distribution specification, version 1.1. What a registry sends is
bounded, and believed only where its hash is the one that was asked for or told.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urljoin, urlsplit

import aiohttp

from livepeer.runner.logs import shown
from livepeer.runner.packaging.registry import credentials
from livepeer.runner.packaging.registry.access import RegistryAccess
from livepeer.runner.packaging.registry.answers import (
    DigestMismatch,
    ImageNotFound,
    NotAllowed,
    RegistryError,
    RegistryUnreachable,
    check_address,
    json_object,
    read,
    said,
)
from livepeer.runner.packaging.registry.reference import (
    HUB,
    ImageReference,
    is_digest,
    is_here,
)

LARGEST_MANIFEST = 4 * 1024 * 1024
LARGEST_CONFIG = 8 * 1024 * 1024
LARGEST_ANSWER = 256 * 1024
REQUEST_SECONDS = 30.0
CONNECT_SECONDS = 10.0
REDIRECTS = 5

INDEX_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
MANIFEST_TYPES = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)


@dataclass(frozen=True, slots=True)
class ImageManifest:
    """A manifest or an index, as the registry keeps it; `digest` is the hash of `body`."""

    digest: str
    media_type: str
    body: bytes
    content: dict[str, Any]

    @property
    def is_index(self) -> bool:
        return self.media_type in INDEX_TYPES or "manifests" in self.content


class ImageRegistry:
    """One registry, with the user's own login.

    `registry` is `host[:port]`. Plain HTTP is spoken with this machine (127.0.0.0/8, localhost,
    ::1), and elsewhere only with `plain_http=True`. `login` takes the place of what `docker login`
    kept.
    """

    def __init__(
        self,
        registry: str,
        *,
        plain_http: bool = False,
        login: credentials.Login | None = None,
    ) -> None:
        self.registry = registry
        self._plain_http = plain_http
        self._access = RegistryAccess(registry, login)
        self._base: str | None = None
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS, sock_connect=CONNECT_SECONDS)
        self._http = aiohttp.ClientSession(
            timeout=timeout,
            trust_env=True,
            auto_decompress=False,
            headers={"Accept-Encoding": "identity", "User-Agent": "livepeer-runner"},
        )
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._http is not None:
            await self._http.close()
            self._http = None

    async def manifest(self, image: ImageReference) -> ImageManifest:
        """The manifest, or the index, that `image` names. Raises `RegistryError`."""
        accept = ", ".join((*MANIFEST_TYPES, *INDEX_TYPES))
        path = f"{image.repository}/manifests/{image.target}"
        async with self._get(path, image, headers={"Accept": accept}) as answer:
            body = await read(answer, LARGEST_MANIFEST, "the manifest")
            media_type = answer.content_type
            told = answer.headers.get("Docker-Content-Digest")
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        for expected in (image.digest, told):
            if expected is not None and is_digest(expected) and expected != digest:
                raise DigestMismatch(
                    f"{self.registry} sent for {image.repository} a manifest with the digest "
                    f"{digest}, not {expected}"
                )
        content = json_object(body, "the manifest", self.registry)
        if content.get("schemaVersion") != 2:
            raise RegistryError(
                f"{image} has a manifest of another version than 2: push it anew with a present "
                f"engine"
            )
        named = content.get("mediaType")
        return ImageManifest(digest, named if isinstance(named, str) else media_type, body, content)

    async def blob(self, image: ImageReference, digest: str, *, limit: int) -> bytes:
        """A blob of at most `limit` bytes, checked against its digest. Raises `RegistryError`."""
        if not is_digest(digest):
            raise RegistryError(f"{image} names a blob by {shown(digest)!r}, which is no digest")
        async with self._get(f"{image.repository}/blobs/{digest}", image) as answer:
            body = await read(answer, limit, "the blob")
        found = f"sha256:{hashlib.sha256(body).hexdigest()}"
        if found != digest:
            raise DigestMismatch(
                f"{self.registry} sent for {digest} a blob with the digest {found}"
            )
        return body

    async def referrers(self, image: ImageReference, digest: str) -> list[dict[str, Any]]:
        """What refers to a manifest (signatures, attestations), by the API or by its fallback tag.

        Empty where the registry knows of none. Raises `RegistryError`.
        """
        try:
            async with self._get(f"{image.repository}/referrers/{digest}", image) as answer:
                body = await read(answer, LARGEST_MANIFEST, "the list of referrers")
            content = json_object(body, "the list of referrers", self.registry)
        except ImageNotFound:
            try:
                tag = ImageReference(image.registry, image.repository, digest.replace(":", "-"))
                content = (await self.manifest(tag)).content
            except ImageNotFound:
                return []
        found = content.get("manifests")
        return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []

    async def store(self, image: ImageReference, body: bytes) -> str:
        """Store a blob in the image's repository; its digest. Raises `RegistryError`."""
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        kind = {"Content-Type": "application/octet-stream"}
        uploads = f"{await self._find()}/v2/{image.repository}/blobs/uploads/"
        async with self._send("POST", uploads, image, b"", {}, 202) as opened:
            place = urljoin(uploads, opened.headers.get("Location", ""))
        place += f"{'&' if '?' in place else '?'}digest={digest}"
        async with self._send("PUT", place, image, body, kind, 201):
            return digest

    async def tag(self, image: ImageReference, manifest: bytes, media_type: str) -> str:
        """Store a manifest under the tag that `image` names; its digest. Raises `RegistryError`."""
        url = f"{await self._find()}/v2/{image.repository}/manifests/{image.target}"
        async with self._send("PUT", url, image, manifest, {"Content-Type": media_type}, 201):
            return f"sha256:{hashlib.sha256(manifest).hexdigest()}"

    # --- requests --------------------------------------------------------------------------------

    @asynccontextmanager
    async def _get(
        self, path: str, image: ImageReference, headers: dict[str, str] | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A successful answer; redirects, to where blobs are kept, are followed without login."""
        assert self._http is not None, "use `async with`"
        url = f"{await self._find()}/v2/{path}"
        scope = f"repository:{image.repository}:pull"
        try:
            answer = await self._authorized("GET", url, scope, headers or {})
            for _ in range(REDIRECTS):
                if answer.status not in (301, 302, 303, 307, 308):
                    break
                url = urljoin(url, answer.headers.get("Location", ""))
                answer.release()
                check_address(url, self.registry, plain_http=self._speaks_plain)
                answer = await self._http.get(url, headers=headers, allow_redirects=False)
            async with answer:
                if answer.status != 200:
                    raise await self._failure(answer, image)
                yield answer
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise self._unreachable(error) from error

    @asynccontextmanager
    async def _send(
        self,
        method: str,
        url: str,
        image: ImageReference,
        body: bytes,
        headers: dict[str, str],
        wanted: int,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """An answer with the status that is wanted; nothing is sent to another host, and nothing
        without the TLS that the registry was found with."""
        if urlsplit(url)[:2] != urlsplit(await self._find())[:2]:
            raise RegistryError(
                f"{self.registry} wants a blob at {shown(url)}: another host, or another scheme"
            )
        scope = f"repository:{image.repository}:pull,push"
        try:
            async with await self._authorized(method, url, scope, headers, body) as answer:
                if answer.status != wanted:
                    raise await self._failure(answer, image)
                yield answer
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise self._unreachable(error) from error

    async def _authorized(
        self,
        method: str,
        url: str,
        scope: str,
        headers: dict[str, str],
        body: bytes | None = None,
    ) -> aiohttp.ClientResponse:
        assert self._http is not None
        for last in (False, True):
            answer = await self._http.request(
                method,
                url,
                headers={**headers, **self._access.headers(scope)},
                data=body,
                allow_redirects=False,
            )
            if answer.status != 401 or last:
                return answer
            challenge = answer.headers.get("WWW-Authenticate", "")
            answer.release()
            await self._access.answer(self._http, challenge, scope, plain_http=self._speaks_plain)
        raise AssertionError("unreachable")

    @property
    def _speaks_plain(self) -> bool:
        return (self._base or "").startswith("http:")

    async def _find(self) -> str:
        """The address of the API: HTTPS, on this machine plain HTTP where that is spoken."""
        if self._base is not None:
            return self._base
        host = "registry-1.docker.io" if self.registry == HUB else self.registry
        secure, plain = f"https://{host}", f"http://{host}"
        candidates = [secure]
        if self._plain_http:
            candidates = [plain]
        elif is_here(host):  # as engines do
            candidates = [plain, secure]
        failure: Exception | None = None
        assert self._http is not None
        for base in candidates:
            try:
                async with self._http.get(f"{base}/v2/", allow_redirects=False) as answer:
                    if answer.status in (200, 401, 403):
                        self._base = base
                        return base
                    raise RegistryError(
                        f"{self.registry} answered {answer.status} at /v2/: is it a registry?"
                    )
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                failure = failure or self._unreachable(error)
        assert failure is not None
        raise failure

    async def _failure(
        self, answer: aiohttp.ClientResponse, image: ImageReference
    ) -> RegistryError:
        told = said(await read(answer, LARGEST_ANSWER, "the error", cut=True))
        if answer.status == 404:
            return ImageNotFound(f"{self.registry} has no {image.repository}:{image.target}{told}")
        if answer.status == 401 and self._access.has_login:
            return NotAllowed(self._access.log_in("refused the login that is kept for it"))
        if answer.status in (401, 403):
            return NotAllowed(self._access.log_in(f"does not show {image.repository}{told}"))
        if answer.status == 429:
            return RegistryUnreachable(f"{self.registry} wants a pause{told}: try again later")
        return RegistryError(f"{self.registry} answered {answer.status} for {image}{told}")

    def _unreachable(self, error: Exception) -> RegistryUnreachable:
        if isinstance(error, TimeoutError):
            return RegistryUnreachable(
                f"{self.registry} gave no answer within {REQUEST_SECONDS:g} s: try again later"
            )
        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            return RegistryUnreachable(
                f"the certificate of {self.registry} does not verify: {shown(str(error))}"
            )
        return RegistryUnreachable(f"{self.registry} cannot be reached: {shown(str(error))}")
