"""`RegistryAccess`: the user's login at a registry, as what its requests carry."""

from __future__ import annotations

import base64
import re
from urllib.parse import urlencode

import aiohttp

from livepeer.runner.packaging.registry import credentials
from livepeer.runner.packaging.registry.answers import (
    NotAllowed,
    RegistryError,
    RegistryUnreachable,
    check_address,
    json_object,
    read,
)
from livepeer.runner.packaging.registry.reference import HUB
from livepeer.runner.secret import Secret

LARGEST_TOKEN = 64 * 1024

_CHALLENGE = re.compile(r'([A-Za-z]+)="((?:[^"\\]|\\.)*)"')


class RegistryAccess:
    """Answers the challenges of one registry: by the login itself, or by a token that it buys, one
    for each scope. The login is looked up when it is first asked for.
    """

    def __init__(self, registry: str, login: credentials.Login | None = None) -> None:
        self.registry = registry
        self._login = login
        self._asked_for_login = login is not None
        self._tokens: dict[str, Secret] = {}
        self._basic = False

    @property
    def has_login(self) -> bool:
        return self._login is not None

    def headers(self, scope: str) -> dict[str, str]:
        """What is known to be wanted for `scope`; empty before the first challenge."""
        if (token := self._tokens.get(scope)) is not None:
            return {"Authorization": f"Bearer {token.reveal()}"}
        if self._basic and self._login is not None:
            return {"Authorization": _basic(self._login)}
        return {}

    async def answer(
        self, http: aiohttp.ClientSession, challenge: str, scope: str, *, plain_http: bool
    ) -> None:
        """Get what a 401 asks for. Raises `NotAllowed` where there is no login for it, and
        `RegistryError`."""
        login = await self._get_login()
        scheme, _, rest = challenge.partition(" ")
        if scheme.lower() == "basic":
            if login is None or login.is_token:
                raise NotAllowed(self.log_in("wants a login"))
            if self._basic:
                raise NotAllowed(self.log_in("refused the login that is kept for it"))
            self._basic = True
        elif scheme.lower() == "bearer":
            given = {name.lower(): value for name, value in _CHALLENGE.findall(rest)}
            self._tokens[scope] = await self._fetch_token(
                http, given, scope, login, plain_http=plain_http
            )
        else:
            raise NotAllowed(f"{self.registry} asks for a login in a way that is unknown here")

    async def _fetch_token(
        self,
        http: aiohttp.ClientSession,
        given: dict[str, str],
        scope: str,
        login: credentials.Login | None,
        *,
        plain_http: bool,
    ) -> Secret:
        realm = given.get("realm", "")
        check_address(realm, self.registry, plain_http=plain_http)
        query = {"scope": scope} | ({"service": given["service"]} if "service" in given else {})
        if login is not None and login.is_token:
            form = {
                **query,
                "grant_type": "refresh_token",
                "client_id": "livepeer-runner",
                "refresh_token": login.password.reveal(),
            }
            asked = http.post(realm, data=form, allow_redirects=False)
        else:
            headers = {} if login is None else {"Authorization": _basic(login)}
            url = f"{realm}{'&' if '?' in realm else '?'}{urlencode(query)}"
            asked = http.get(url, headers=headers, allow_redirects=False)
        async with asked as answer:
            if answer.status in (400, 401, 403):
                raise NotAllowed(self.log_in("refused the login that is kept for it"))
            if answer.status != 200:
                raise RegistryUnreachable(
                    f"the token service of {self.registry} answered {answer.status}: try later"
                )
            content = json_object(
                await read(answer, LARGEST_TOKEN, "the token"), "the token", realm
            )
        token = content.get("token") or content.get("access_token")
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise RegistryError(f"the token service of {self.registry} gave no token")
        return Secret(token)

    async def _get_login(self) -> credentials.Login | None:
        if not self._asked_for_login:
            self._asked_for_login = True
            try:
                self._login = await credentials.login(self.registry)
            except credentials.CredentialError as error:
                raise NotAllowed(str(error)) from error
        return self._login

    def log_in(self, what: str) -> str:
        """A sentence that says what the registry did, and how to log in."""
        named = "" if self.registry == HUB else f" {self.registry}"
        return f"{self.registry} {what}: run `docker login{named}`, and try again"


def _basic(login: credentials.Login) -> str:
    pair = f"{login.username}:{login.password.reveal()}".encode()
    return f"Basic {base64.b64encode(pair).decode()}"
