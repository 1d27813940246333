"""Go's view of JSON: what it accepts, and the words it refuses with."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livepeer.runner.devnet import go_json
from livepeer.runner.devnet.byoc.accounts import JobAccounts
from livepeer.runner.devnet.byoc.capabilities import Capabilities, PriceFeedMissing
from livepeer.runner.devnet.byoc.envelope import JobRefused, admit


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "unexpected end of JSON input"),
        ("  ", "unexpected end of JSON input"),
        ('{"a": ', "unexpected end of JSON input"),
        ('{"a', "unexpected end of JSON input"),
        ("hello", "invalid character 'h' looking for beginning of value"),
        ("NaN", "invalid character 'N' looking for beginning of value"),
        ('{"a":1} x', "invalid character 'x' after top-level value"),
        ("{a:1}", "invalid character 'a' looking for beginning of object key string"),
        ('{"a" 1}', "invalid character '1' after object key"),
        ("'", "invalid character '\\'' looking for beginning of value"),
    ],
)
def test_a_syntax_error_has_the_text_of_go(text: str, error: str) -> None:
    with pytest.raises(go_json.GoJSONError) as refused:
        go_json.parse(text)
    assert str(refused.value) == error


@pytest.mark.parametrize(
    ("number", "text"),
    [
        ("12345678901234567890", "12345678901234567000"),
        ("9007199254740993", "9007199254740992"),
        ("1.50", "1.5"),
        ("1e3", "1000"),
        ("1e21", "1e+21"),
        ("1e-7", "1e-7"),
        ("0.000001", "0.000001"),
        ("-0.5", "-0.5"),
        ("0", "0"),
    ],
)
def test_a_number_of_a_free_form_object_comes_out_as_go_writes_its_float(
    number: str, text: str
) -> None:
    value = go_json.decode_object(go_json.parse(f'{{"n":{number}}}'))
    assert go_json.dumps(value) == f'{{"n":{text}}}'.encode()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), json_values, max_size=4))
def test_a_free_form_object_means_the_same_afterwards(value: dict[str, object]) -> None:
    written = go_json.dumps(go_json.decode_object(go_json.parse(json.dumps(value))))
    assert json.loads(written) == value
    assert not set(b"<>&") & set(written)


@given(st.binary())
def test_no_bytes_are_more_than_a_refused_registration(body: bytes) -> None:
    try:
        Capabilities().register(body)
    except (go_json.GoJSONError, PriceFeedMissing):
        pass


@given(json_values)
def test_no_json_value_is_more_than_a_refused_registration(value: object) -> None:
    try:
        Capabilities().register(json.dumps(value).encode())
    except (go_json.GoJSONError, PriceFeedMissing):
        pass


@given(st.text())
def test_no_text_is_more_than_a_refused_envelope(header: str) -> None:
    capabilities = Capabilities()
    accounts = JobAccounts(capabilities, None)
    with pytest.raises(JobRefused):
        asyncio.run(admit({"Livepeer": header}, capabilities, accounts, reserve=True))
