"""The environment, read in one place: names old and new, secrets, and precise errors."""

from pathlib import Path

import pytest

from livepeer.runner.exceptions import SettingsError
from livepeer.runner.settings import Limits, RegistrationSettings, Secret, Settings

ORCH = {"LIVEPEER_ORCH_URL": "https://orch:8935", "LIVEPEER_ORCH_SECRET": "s"}

PINNED = "me/echo@sha256:" + "0" * 64


def registration(**environ: str) -> RegistrationSettings:
    found = Settings.from_env({**ORCH, **environ}).registration
    assert found is not None
    return found


def test_nothing_set_simply_serves() -> None:
    settings = Settings.from_env({})
    assert (settings.host, settings.port) == ("0.0.0.0", 8000)
    assert settings.registration is None
    assert settings.capacity is None
    assert settings.tls == "pin"
    assert settings == Settings(model_dir=settings.model_dir)


def test_every_variable_reaches_its_field(tmp_path: Path) -> None:
    settings = Settings.from_env(
        {
            "HOST": "::1",
            "PORT": "9",
            "LIVEPEER_CAPACITY": "4",
            "LIVEPEER_MODEL_DIR": str(tmp_path),
            "PREPARE_MODELS": "1",
            "LIVEPEER_HEALTH": "Strict",
            "LIVEPEER_LOG_FORMAT": "json",
            "LIVEPEER_LOG_LEVEL": "DEBUG",
            "LIVEPEER_MAX_BODY_MB": "2",
            "LIVEPEER_MAX_FILE_MB": "3",
            "LIVEPEER_FETCH_TIMEOUT": "1.5",
            "LIVEPEER_DRAIN_TIMEOUT": "60",
            "LIVEPEER_ALLOW_PRIVATE_URLS": "yes",
            "LIVEPEER_TLS": "verify",
            "LIVEPEER_TRICKLE_HOSTS": " a , b:8935,",
        }
    )
    assert settings == Settings(
        host="::1",
        port=9,
        capacity=4,
        model_dir=tmp_path,
        prepare_models=True,
        strict_health=True,
        log_format="json",
        log_level="debug",
        limits=Limits(2 << 20, 3 << 20, 1.5, 60.0),
        allow_private_urls=True,
        tls="verify",
        trickle_hosts=("a", "b:8935"),
    )


def test_an_operators_old_compose_file_simply_works() -> None:
    settings = Settings.from_env(
        {
            "ORCH_URL": "https://orch:8935",
            "ORCH_SECRET": "orch-secret",
            "CAPABILITY_NAME": "echo",
            "CAPABILITY_URL": "http://echo:9876",
            "CAPABILITY_CAPACITY": "2",
            "CAPABILITY_PRICE_PER_UNIT": "10",
            "CAPABILITY_PRICE_SCALING": "100",
        }
    )
    found = settings.registration
    assert found is not None
    assert found.orchestrators[0].url == "https://orch:8935"
    assert found.orchestrators[0].secret.reveal() == "orch-secret"
    assert (found.capability_name, found.capability_url) == ("echo", "http://echo:9876")
    assert (found.price_per_unit, found.price_scaling, found.currency) == (10, 100, "wei")
    assert settings.capacity == 2


@pytest.mark.parametrize(
    ("new", "old"),
    [
        ("LIVEPEER_ORCH_URL", "ORCH_URL"),
        ("LIVEPEER_CAPABILITY_URL", "CAPABILITY_URL"),
        ("LIVEPEER_CAPABILITY_NAME", "CAPABILITY_NAME"),
        ("LIVEPEER_ORCH_SECRET", "ORCH_SECRET"),
        ("LIVEPEER_ORCH_SECRET", "ORCH_TOKEN"),
    ],
)
def test_the_new_name_wins_over_the_old_one(new: str, old: str) -> None:
    found = registration(**{new: "http://new", old: "http://old"})
    shown = repr(found) + found.orchestrators[0].secret.reveal()
    assert "http://new" in shown
    assert "http://old" not in shown


def test_a_live_runner_has_a_name_and_a_price_of_its_own() -> None:
    found = registration(
        LIVEPEER_REGISTRATION="both",
        LIVEPEER_APP="org/echo",
        LIVEPEER_APP_PRICE="0.25",
        LIVEPEER_APP_PRICE_UNIT="fixed",
        LIVEPEER_IMAGE=PINNED,
    )
    assert (found.kind, found.app, found.image) == ("both", "org/echo", PINNED)
    assert (found.app_price, found.app_price_unit) == (0.25, "fixed")


def test_an_empty_variable_is_not_set() -> None:
    found = registration(LIVEPEER_CAPABILITY_NAME="", CAPABILITY_NAME=" old ")
    assert found.capability_name == "old"


def test_several_orchestrators_share_a_secret() -> None:
    found = registration(LIVEPEER_ORCH_URL="https://a:1/, https://b:2")
    assert [(each.url, each.secret.reveal()) for each in found.orchestrators] == [
        ("https://a:1", "s"),
        ("https://b:2", "s"),
    ]


class TestSecretFile:
    def settings(self, path: Path, **environ: str) -> list[str]:
        found = Settings.from_env(
            {
                "LIVEPEER_ORCH_URL": "https://a,https://b",
                "LIVEPEER_ORCH_SECRET_FILE": str(path),
                **environ,
            }
        ).registration
        assert found is not None
        return [each.secret.reveal() for each in found.orchestrators]

    def test_one_line_is_for_all(self, tmp_path: Path) -> None:
        path = tmp_path / "secret"
        path.write_text("x\n")
        assert self.settings(path) == ["x", "x"]

    def test_several_lines_are_for_one_each(self, tmp_path: Path) -> None:
        path = tmp_path / "secret"
        path.write_text("x\ny\n")
        assert self.settings(path) == ["x", "y"]

    def test_the_new_file_wins_over_the_old_value(self, tmp_path: Path) -> None:
        path = tmp_path / "secret"
        path.write_text("x")
        assert self.settings(path, ORCH_SECRET="old") == ["x", "x"]

    def test_the_new_value_wins_over_the_file(self, tmp_path: Path) -> None:
        path = tmp_path / "secret"
        path.write_text("x")
        assert self.settings(path, LIVEPEER_ORCH_SECRET="v") == ["v", "v"]

    @pytest.mark.parametrize(
        ("content", "says"),
        [(None, "cannot be read"), ("\n", "is empty"), ("a\nb\nc", "3 lines for 2 orchestrators")],
    )
    def test_a_file_that_will_not_do_is_said_so(
        self, content: str | None, says: str, tmp_path: Path
    ) -> None:
        path = tmp_path / "secret"
        if content is not None:
            path.write_text(content)
        with pytest.raises(SettingsError, match=f"LIVEPEER_ORCH_SECRET_FILE .*{says}"):
            self.settings(path)


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"PORT": "http"}, "PORT is 'http': write a whole number"),
        ({"PORT": "70000"}, "PORT is 70000: write 0 to 65535"),
        ({"LIVEPEER_CAPACITY": "0"}, "LIVEPEER_CAPACITY is 0: write 1 or more"),
        ({"CAPABILITY_CAPACITY": "x"}, "CAPABILITY_CAPACITY is 'x'"),
        ({"LIVEPEER_TLS": "off"}, "write one of pin, verify, insecure"),
        ({"LIVEPEER_HEALTH": "ok"}, "write one of always-200, strict"),
        ({"PREPARE_MODELS": "maybe"}, "PREPARE_MODELS is 'maybe': write 1 or 0"),
        ({"LIVEPEER_FETCH_TIMEOUT": "0"}, "LIVEPEER_FETCH_TIMEOUT is '0': write seconds above 0"),
        ({"LIVEPEER_FETCH_TIMEOUT": "nan"}, "write seconds above 0"),
        ({"LIVEPEER_ORCH_URL": "orch:8935"}, "write a URL such as https://orchestrator:8935"),
        ({"LIVEPEER_ORCH_URL": "https://h:port"}, "write a URL such as"),
        ({"LIVEPEER_ORCH_URL": "https://a,https://a/"}, "names an orchestrator twice"),
        ({"LIVEPEER_ORCH_URL": "https://u:p@h"}, "user name or password"),
        ({"LIVEPEER_ORCH_URL": "https://h?x=1"}, "no query"),
        ({"LIVEPEER_ORCH_SECRET": ""}, "LIVEPEER_ORCH_SECRET is missing"),
        ({"LIVEPEER_CAPABILITY_URL": "10.0.0.1:80"}, "LIVEPEER_CAPABILITY_URL has '10.0.0.1:80'"),
        ({"LIVEPEER_PRICE_PER_UNIT": "0.5"}, "a fraction is written with LIVEPEER_PRICE_SCALING"),
        ({"LIVEPEER_PRICE_PER_UNIT": "-1"}, "write 0 or more"),
        ({"LIVEPEER_PRICE_SCALING": "0"}, "write 1 or more"),
        ({"LIVEPEER_REGISTRATION": "none"}, "write one of byoc, live-runner, both"),
        ({"LIVEPEER_APP_PRICE": "-1"}, "write a number, 0 or more"),
        (
            {"LIVEPEER_IMAGE": "me/app:latest"},
            "is no repository@sha256:..., as livepeer push prints it",
        ),
    ],
)
def test_the_error_names_the_variable_and_says_what_to_write(
    environ: dict[str, str], says: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({**ORCH, **environ})
    assert says in str(caught.value)


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({"PORT": "x", "LIVEPEER_TLS": "y", "ORCH_URL": "https://a"})
    assert [problem.split()[0] for problem in caught.value.problems] == [
        "PORT",
        "LIVEPEER_TLS",
        "LIVEPEER_ORCH_SECRET",
    ]


def test_secrets_show_nowhere() -> None:
    secret = Secret("hush-hush")
    shown = f"{secret} {secret!r} {registration(LIVEPEER_ORCH_SECRET='hush-hush')!r}"
    assert "hush" not in shown
    assert secret == Secret("hush-hush")
    assert secret != Secret("other")
    assert len({secret, Secret("hush-hush")}) == 1


def test_a_password_in_a_url_is_not_repeated() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({**ORCH, "LIVEPEER_ORCH_URL": "https://user:hush-hush@host"})
    assert "hush" not in str(caught.value)


def test_every_variable_is_documented() -> None:
    from livepeer.runner import environment, settings

    source = Path(settings.__file__).read_text()
    documented, code = source.split('"""', 2)[1:]
    named = {part for part in code.split('"') if part.isupper() and part.isidentifier()}
    assert named
    assert all(f"`{name}`" in documented for name in named)
    assert "environ" in Path(environment.__file__).read_text()
