"""A registry is believed only by its hashes, and gets the user's login only where it belongs."""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import stat
from pathlib import Path

import aiohttp
import psutil
import pytest
from aiohttp import web

from livepeer.runner.packaging.inspect import inspect
from livepeer.runner.packaging.labels import PREFIX, schema_labels
from livepeer.runner.packaging.registry import client as client_module
from livepeer.runner.packaging.registry import credentials
from livepeer.runner.packaging.registry.access import RegistryAccess
from livepeer.runner.packaging.registry.answers import (
    DigestMismatch,
    ImageNotFound,
    NotAllowed,
    RegistryError,
    RegistryUnreachable,
)
from livepeer.runner.packaging.registry.reference import ImageReference

from .conftest import INDEX, DebianRegistry, ScriptedRegistry, digest_of

SCHEMA = {"input": {"properties": {"text": {"type": "string"}}}, "output": {}}
LABELS = {f"{PREFIX}id": "sentiment", f"{PREFIX}version": "1.2.0", **schema_labels(SCHEMA)}
SECRET = "hunter2-hunter2"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No login of whoever runs the tests."""
    for name in ("DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    return tmp_path


def docker_config(home: Path, **content: object) -> None:
    (home / ".docker").mkdir(exist_ok=True)
    (home / ".docker" / "config.json").write_text(json.dumps(content))


def kept(host: str, name: str = "me", password: str = SECRET) -> dict[str, object]:
    return {host: {"auth": base64.b64encode(f"{name}:{password}".encode()).decode()}}


def ref(registry: ScriptedRegistry, name: str = "me/app:v1") -> ImageReference:
    return ImageReference.parse(f"{registry.host}/{name}")


async def test_an_image_tells_its_pipeline_layers_and_digest(scripted: ScriptedRegistry) -> None:
    digest = scripted.image(labels=LABELS)
    image = await inspect(ref(scripted))
    assert image.digest == image.manifest_digest == digest
    assert image.pinned == f"byoc/me/app@{digest}"
    assert image.size == 2001 and len(image.layers) == 2
    assert image.pipeline is not None
    assert (image.pipeline.id, image.pipeline.version) == ("sentiment", "1.2.0")
    assert image.pipeline.schema == SCHEMA
    assert image.signatures == 0


async def test_of_an_index_with_provenance_the_platform_is_read_and_the_index_pinned(
    scripted: ScriptedRegistry,
) -> None:
    inner = scripted.image(labels=LABELS)
    index = {
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [
            {"digest": digest_of(b"att"), "platform": {"os": "unknown", "architecture": "unknown"}},
            {"digest": inner, "platform": {"os": "linux", "architecture": "amd64"}},
            {
                "digest": digest_of(b"arm"),
                "platform": {"os": "linux", "architecture": "arm64", "variant": "v8"},
            },
        ],
    }
    digest = scripted.put("me/app/manifests/v2", index, INDEX)
    image = await inspect(ref(scripted, "me/app:v2"))
    assert (image.digest, image.manifest_digest) == (digest, inner)
    assert image.platforms == ("linux/amd64", "linux/arm64", "linux/arm64/v8")
    with pytest.raises(RegistryError, match="not there for linux/s390x, but for linux/amd64"):
        await inspect(ref(scripted, "me/app:v2"), platform="linux/s390x")


async def test_signatures_are_counted_by_the_api_and_by_the_fallback_tag(
    scripted: ScriptedRegistry,
) -> None:
    digest = scripted.image()
    entry = {"artifactType": "application/vnd.dev.sigstore.bundle.v0.3+json"}
    listed = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}
    scripted.put(f"me/app/manifests/{digest.replace(':', '-')}", listed, INDEX)
    assert (await inspect(ref(scripted))).signatures == 1
    scripted.put(f"me/app/referrers/{digest}", {**listed, "manifests": [entry, entry]}, INDEX)
    assert (await inspect(ref(scripted))).signatures == 2


async def test_a_manifest_that_was_changed_is_refused(scripted: ScriptedRegistry) -> None:
    digest = scripted.image()
    scripted.put(f"me/app/manifests/{digest}", {"schemaVersion": 2, "layers": []})
    with pytest.raises(DigestMismatch, match="not " + digest):
        await inspect(ref(scripted, f"me/app@{digest}"))


async def test_a_blob_that_was_changed_is_refused(scripted: ScriptedRegistry) -> None:
    scripted.image()
    for path in [path for path in scripted.files if "/blobs/" in path]:
        scripted.put(path, {"os": "linux", "config": {"Labels": {"x": "y"}}})
    with pytest.raises(DigestMismatch):
        await inspect(ref(scripted))


@pytest.mark.parametrize(
    ("manifest", "why"),
    [
        (b"x" * 5_000_000, "larger than 4194304 bytes"),
        (b"no", "is no JSON object"),
        (b"[]", "is no JSON object"),
        (b"[" * 200_000, "is no JSON object"),
        ({"schemaVersion": 1}, "another version than 2"),
        ({"schemaVersion": 2}, "names no configuration"),
        ({"schemaVersion": 2, "config": {"digest": "../../x"}}, "which is no digest"),
        ({"schemaVersion": 2, "manifests": "x"}, "not there for linux/amd64, but for no platform"),
        (
            {"schemaVersion": 2, "manifests": [{"platform": {"os": "linux"}, "digest": 3}, 4]},
            "but for no platform",
        ),
    ],
)
async def test_a_manifest_that_is_none_is_one_precise_error(
    scripted: ScriptedRegistry, manifest: object, why: str
) -> None:
    scripted.put("me/app/manifests/v1", manifest)
    with pytest.raises(RegistryError, match=why):
        await inspect(ref(scripted))


@pytest.mark.parametrize(
    "layers", [[{"digest": "sha256:x", "size": 1}], [{"size": 1}], [7], [{}] * 2000]
)
async def test_layers_that_are_none_are_refused(scripted: ScriptedRegistry, layers: object) -> None:
    config = json.dumps({"config": {}}).encode()
    digest = scripted.put(f"me/app/blobs/{digest_of(config)}", config)
    manifest = {"schemaVersion": 2, "config": {"digest": digest}, "layers": layers}
    scripted.put("me/app/manifests/v1", manifest)
    with pytest.raises(RegistryError, match="layer"):
        await inspect(ref(scripted))


async def test_what_is_missing_is_told_with_the_registrys_own_word(
    scripted: ScriptedRegistry,
) -> None:
    with pytest.raises(ImageNotFound, match=r"has no me/app:v1 \(manifest unknown\)"):
        await inspect(ref(scripted))


async def test_where_nobody_listens_the_registry_cannot_be_reached(
    unused_tcp_port: int,
) -> None:
    with pytest.raises(RegistryUnreachable, match="cannot be reached"):
        await inspect(ImageReference.parse(f"127.0.0.1:{unused_tcp_port}/me/app"))


async def test_a_web_server_that_is_no_registry_is_told_apart(scripted: ScriptedRegistry) -> None:
    async def nothing(request: web.Request) -> web.StreamResponse:
        return web.Response(status=404)

    scripted.before = nothing
    with pytest.raises(RegistryError, match="is it a registry"):
        await inspect(ref(scripted))


async def test_a_registry_that_does_not_answer_is_given_up(
    scripted: ScriptedRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "REQUEST_SECONDS", 0.2)
    over = asyncio.Event()

    async def silent(request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/v1"):
            await over.wait()
        raise LookupError

    scripted.before = silent
    with pytest.raises(RegistryUnreachable, match="gave no answer within"):
        await inspect(ref(scripted))
    over.set()


def bearer(registry: ScriptedRegistry, accepts: str) -> None:
    """The registry wants a token that its service gives to whoever sends `accepts`."""

    async def guard(request: web.Request) -> web.StreamResponse:
        if request.path == "/token":
            if request.method == "POST":
                given = "refresh " + str((await request.post())["refresh_token"])
            else:
                given = request.headers.get("Authorization", "anonymous")
            if given != accepts:
                return web.Response(status=401)
            assert "repository:me/app:pull" in (
                request.query.get("scope") or str(await request.post())
            )
            return web.json_response({"token": "t0k3n"})
        if request.path != "/v2/" and request.headers.get("Authorization") != "Bearer t0k3n":
            challenge = f'Bearer realm="http://{registry.host}/token",service="here"'
            return web.Response(status=401, headers={"WWW-Authenticate": challenge})
        raise LookupError

    registry.before = guard


async def test_a_public_image_is_read_by_an_anonymous_token(scripted: ScriptedRegistry) -> None:
    digest = scripted.image()
    bearer(scripted, "anonymous")
    assert (await inspect(ref(scripted))).digest == digest


async def test_the_kept_login_buys_the_token(scripted: ScriptedRegistry, home: Path) -> None:
    digest = scripted.image()
    docker_config(home, auths=kept(scripted.host))
    bearer(scripted, "Basic " + base64.b64encode(f"me:{SECRET}".encode()).decode())
    assert (await inspect(ref(scripted))).digest == digest


async def test_an_identity_token_is_sent_as_a_refresh_token(
    scripted: ScriptedRegistry, home: Path
) -> None:
    digest = scripted.image()
    docker_config(home, auths={scripted.host: {"identitytoken": SECRET}})
    bearer(scripted, f"refresh {SECRET}")
    assert (await inspect(ref(scripted))).digest == digest


async def test_a_refused_login_says_what_to_run_and_holds_no_secret(
    scripted: ScriptedRegistry, home: Path
) -> None:
    docker_config(home, auths=kept(scripted.host))
    bearer(scripted, "somebody else")
    with pytest.raises(NotAllowed, match=f"docker login {scripted.host}") as caught:
        await inspect(ref(scripted))
    assert SECRET not in str(caught.value) and SECRET not in repr(caught.value.__cause__)


async def test_a_login_goes_to_no_token_service_that_is_not_https(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a registry with TLS; the challenge may name any address."""
    async with aiohttp.ClientSession() as http:
        with pytest.raises(RegistryError, match="which is not https"):
            await RegistryAccess("registry.example").answer(
                http, 'Bearer realm="http://evil.example/t"', "scope", plain_http=False
            )


async def test_the_login_does_not_follow_a_redirect_of_a_blob(
    scripted: ScriptedRegistry, home: Path
) -> None:
    digest = scripted.image()
    docker_config(home, auths=kept(scripted.host))

    async def elsewhere(request: web.Request) -> web.StreamResponse:
        if "/blobs/" in request.path and not request.query:
            raise web.HTTPTemporaryRedirect(f"http://{scripted.host}{request.path}?at=cdn")
        if request.path != "/v2/" and not request.query and "Authorization" not in request.headers:
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="x"'})
        raise LookupError

    scripted.before = elsewhere
    assert (await inspect(ref(scripted))).digest == digest
    followed = [one for one in scripted.seen if one.query]
    assert followed and all("Authorization" not in one.headers for one in followed)


@pytest.mark.parametrize("place", ["http://evil.example/up", "https://{host}/up", "//evil/up"])
async def test_what_is_pushed_goes_to_no_other_host_and_not_without_its_tls(
    scripted: ScriptedRegistry, place: str
) -> None:
    async def opened(request: web.Request) -> web.StreamResponse:
        if request.method == "POST":
            return web.Response(status=202, headers={"Location": place.format(host=scripted.host)})
        raise LookupError

    scripted.before = opened
    async with client_module.ImageRegistry(scripted.host) as registry:
        with pytest.raises(RegistryError, match="another host"):
            await registry.store(ref(scripted), b"config")
    assert {one.method for one in scripted.seen} == {"GET", "POST"}


@pytest.mark.parametrize(
    ("challenge", "login", "why"),
    [
        ('Basic realm="x"', False, "wants a login"),
        ('Basic realm="x"', True, "refused the login that is kept"),
        ("Negotiate", True, "in a way that is unknown"),
        ("", True, "in a way that is unknown"),
        ('Bearer realm="http://{host}/token"', True, "gave no token"),
    ],
)
async def test_a_login_that_leads_nowhere_is_one_error_without_the_secret(
    scripted: ScriptedRegistry, home: Path, challenge: str, login: bool, why: str
) -> None:
    scripted.image()
    if login:
        docker_config(home, auths=kept(scripted.host))

    async def guard(request: web.Request) -> web.StreamResponse:
        if request.path == "/token":
            return web.json_response({"token": ["no", "text"]})
        if request.path == "/v2/":
            raise LookupError
        told = {"WWW-Authenticate": challenge.format(host=scripted.host)}
        return web.Response(status=401, headers=told)

    scripted.before = guard
    with pytest.raises(RegistryError, match=why) as caught:
        await inspect(ref(scripted))
    assert SECRET not in f"{caught.value!r} {caught.value.__cause__!r}"
    assert len(scripted.seen) < 10


async def test_a_registry_that_wants_a_pause_is_said_so(scripted: ScriptedRegistry) -> None:
    async def busy(request: web.Request) -> web.StreamResponse:
        raise web.HTTPTooManyRequests if "/manifests/" in request.path else LookupError

    scripted.before = busy
    with pytest.raises(RegistryUnreachable, match="wants a pause"):
        await inspect(ref(scripted))


async def test_a_redirect_in_circles_ends(scripted: ScriptedRegistry) -> None:
    async def round(request: web.Request) -> web.StreamResponse:
        if "/manifests/" in request.path:
            raise web.HTTPTemporaryRedirect(request.path)
        raise LookupError

    scripted.before = round
    with pytest.raises(RegistryError, match="answered 307"):
        await inspect(ref(scripted))
    assert len(scripted.seen) < 10


def helper(home: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    path = home / "docker-credential-test"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{home}:/usr/bin:/bin")


def says(username: str, secret: str) -> str:
    answer = json.dumps({"Username": username, "Secret": secret}).replace('"', '\\"')
    return f'read h; echo "{answer}"'


async def test_a_helper_is_asked_for_the_host(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper(
        home,
        monkeypatch,
        f'read h; echo "{{\\"Username\\": \\"$h\\", \\"Secret\\": \\"{SECRET}\\"}}"',
    )
    docker_config(home, credHelpers={"ghcr.io": "test"})
    found = await credentials.login("ghcr.io")
    assert found is not None and (found.username, found.password.reveal()) == ("ghcr.io", SECRET)
    assert SECRET not in repr(found)
    assert await credentials.login("quay.io") is None


async def test_the_store_for_all_is_asked_for_the_hub_by_its_old_name(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper(
        home, monkeypatch, 'read h; echo "{\\"Username\\": \\"<token>\\", \\"Secret\\": \\"$h\\"}"'
    )
    docker_config(home, credsStore="test", auths={"https://index.docker.io/v1/": {}})
    found = await credentials.login("docker.io")
    assert found is not None and found.is_token
    assert found.password.reveal() == "https://index.docker.io/v1/"


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("exec sleep 60", "gave no answer within"),
        ("echo no", "no login"),
        ('echo \'{"Username": 3, "Secret": []}\'', "no login"),
        ("head -c 10000000 /dev/zero", "no login|None"),
    ],
)
async def test_a_broken_helper_is_an_error_that_names_it_and_leaves_no_process(
    home: Path, monkeypatch: pytest.MonkeyPatch, script: str, why: str
) -> None:
    monkeypatch.setattr(credentials, "HELPER_SECONDS", 1.0)
    helper(home, monkeypatch, script)
    docker_config(home, credsStore="test")
    try:
        assert await credentials.login("ghcr.io") is None and "None" in why
    except credentials.CredentialError as error:
        assert "docker-credential-test" in str(error)
    gc.collect()  # a pipe that was left open warns here, and warnings are errors
    running = [" ".join(one.info["cmdline"] or ()) for one in psutil.process_iter(["cmdline"])]
    assert not [one for one in running if str(home / "docker-credential-test") in one]


async def test_a_helper_that_is_not_installed_or_knows_nothing_leaves_the_next_source(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker_config(home, credsStore="missing", auths=kept("ghcr.io"))
    found = await credentials.login("ghcr.io")
    assert found is not None and found.username == "me"
    helper(home, monkeypatch, "echo credentials not found; exit 1")
    docker_config(home, credsStore="test")
    assert await credentials.login("ghcr.io") is None


@pytest.mark.parametrize("content", [b"{", b"[]", b"x" * 2_000_000, b"\xff"])
async def test_a_file_of_logins_that_cannot_be_read_is_named(home: Path, content: bytes) -> None:
    (home / ".docker").mkdir()
    (home / ".docker" / "config.json").write_bytes(content)
    with pytest.raises(credentials.CredentialError, match=r"config\.json"):
        await credentials.login("ghcr.io")


@pytest.mark.parametrize("name", ["../../tmp/x", "a/b", "x; rm -rf", ""])
async def test_a_helper_whose_name_is_a_path_or_a_command_is_not_run(home: Path, name: str) -> None:
    docker_config(home, credHelpers={"ghcr.io": name}, credsStore=name or "/x")
    with pytest.raises(credentials.CredentialError, match="no name of a program"):
        await credentials.login("ghcr.io")


@pytest.mark.parametrize("auth", ["no base64!", "bm9jb2xvbg==", "/w=="])
async def test_a_kept_login_that_cannot_be_read_says_to_log_in_again(home: Path, auth: str) -> None:
    docker_config(home, auths={"ghcr.io": {"auth": auth}})
    with pytest.raises(credentials.CredentialError, match="log in again") as caught:
        await credentials.login("ghcr.io")
    assert auth not in str(caught.value)


async def test_a_login_of_podman_is_found_too(home: Path) -> None:
    (home / "run" / "containers").mkdir(parents=True)
    content = json.dumps({"auths": kept("quay.io", "pod")})
    (home / "run" / "containers" / "auth.json").write_text(content)
    found = await credentials.login("quay.io")
    assert found is not None and found.username == "pod"


@pytest.mark.container
async def test_debians_registry_tells_the_same_and_wants_its_login(
    debian: DebianRegistry, home: Path, tmp_path: Path
) -> None:
    reference = ImageReference.parse(f"{debian.host}/me/app:v1")
    with pytest.raises(NotAllowed, match="wants a login"):
        await inspect(reference)
    docker_config(home, auths=kept(debian.host, "me", "wrong"))
    with pytest.raises(NotAllowed, match="refused the login"):
        await inspect(reference)
    docker_config(home, auths=kept(debian.host, "me", "s3cret"))
    with pytest.raises(ImageNotFound):
        await inspect(reference)
    digest = await push(debian, LABELS)
    image = await inspect(reference)
    assert image.digest == digest and image.pipeline is not None
    assert image.pipeline.schema == SCHEMA


async def push(debian: DebianRegistry, labels: dict[str, str]) -> str:
    """A small image, pushed over the API; answers the digest that the registry tells."""
    login = {"Authorization": "Basic " + base64.b64encode(b"me:s3cret").decode()}
    base = f"http://{debian.host}/v2/me/app"
    config = json.dumps({"os": "linux", "architecture": "amd64", "config": {"Labels": labels}})
    async with aiohttp.ClientSession(headers=login, raise_for_status=True) as http:
        blobs = [config.encode(), b"layer"]
        for blob in blobs:
            async with http.post(f"{base}/blobs/uploads/") as opened:
                place = opened.headers["Location"]
            joined = f"{place}{'&' if '?' in place else '?'}digest={digest_of(blob)}"
            headers = {"Content-Type": "application/octet-stream"}
            async with http.put(joined, data=blob, headers=headers):
                pass
        kind = "application/vnd.docker.distribution.manifest.v2+json"
        manifest = {
            "schemaVersion": 2,
            "mediaType": kind,
            "config": {
                "mediaType": "application/vnd.docker.container.image.v1+json",
                "digest": digest_of(blobs[0]),
                "size": len(blobs[0]),
            },
            "layers": [
                {
                    "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
                    "digest": digest_of(blobs[1]),
                    "size": len(blobs[1]),
                }
            ],
        }
        async with http.put(
            f"{base}/manifests/v1",
            data=json.dumps(manifest),
            headers={"Content-Type": kind},
        ) as answer:
            return answer.headers["Docker-Content-Digest"]
