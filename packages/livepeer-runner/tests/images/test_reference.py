"""Names of images are read as engines read them."""

from __future__ import annotations

import pytest

from livepeer.runner.packaging.registry.reference import ImageReference, InvalidReference

HEX = "a" * 64


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("python", "docker.io/library/python:latest"),
        ("python:3.12-slim", "docker.io/library/python:3.12-slim"),
        ("me/app", "docker.io/me/app:latest"),
        ("index.docker.io/me/app:v1", "docker.io/me/app:v1"),
        ("ghcr.io/me/team/app:v1.2", "ghcr.io/me/team/app:v1.2"),
        ("localhost/app", "localhost/app:latest"),
        ("127.0.0.1:5000/me/app__x", "127.0.0.1:5000/me/app__x:latest"),
        ("[::1]:5000/me/app", "[::1]:5000/me/app:latest"),
        (f"ghcr.io/me/app@sha256:{HEX}", f"ghcr.io/me/app@sha256:{HEX}"),
        (f"me/app:v1@sha256:{HEX}", f"docker.io/me/app:v1@sha256:{HEX}"),
    ],
)
def test_a_reference_is_read_to_its_full_name_and_again_to_the_same(text: str, full: str) -> None:
    assert str(ImageReference.parse(text)) == full
    assert ImageReference.parse(full) == ImageReference.parse(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "names no image"),
        ("ghcr.io/", "names no image"),
        ("Me/App", "write me/app"),
        ("me/app:" + "x" * 129, "a tag has 1 to 128"),
        ("me/app:a b", "a tag has"),
        ("me//app", "no name of a repository"),
        ("me/-app", "no name of a repository"),
        ("me/app@sha256:abc", "64 hexadecimal digits"),
        (f"me/app@sha256:{'A' * 64}", "lower case"),
        ("me/app@", "64 hexadecimal"),
        ("https://ghcr.io/me/app", "no host of a registry"),
        ("user:pw@ghcr.io/me/app", "a digest is"),
        ("../../etc", "no host of a registry"),
        ("me/" + "a" * 300, "longer than 255"),
        ("me/app\n", "no name of a repository"),
        ("me/\x1b[31m", "no name of a repository"),
    ],
)
def test_what_names_no_image_is_refused_with_what_to_write(text: str, why: str) -> None:
    with pytest.raises(InvalidReference) as caught:
        ImageReference.parse(text)
    assert why in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_pinned_reference_has_the_digest_and_no_tag() -> None:
    pinned = ImageReference.parse("me/app:v1").pinned(f"sha256:{HEX}")
    assert str(pinned) == f"docker.io/me/app@sha256:{HEX}"
    assert pinned.target == f"sha256:{HEX}"
