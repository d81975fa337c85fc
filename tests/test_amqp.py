"""What needs no broker: messages that cannot be are refused before anything is sent."""

import string
import typing as t

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import quorum
from tests.conftest import MakeApp
from tests.processes import free_port

some = settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def nobody(make_app: MakeApp) -> None:
    """Load an app whose broker is not there: to connect would be another error."""
    make_app(CLOUDAMQP_URL=f"amqp://shop:sesame@127.0.0.1:{free_port()}")


def test_properties_are_of_a_persistent_message() -> None:
    assert quorum.properties_amqp().delivery_mode == 2
    assert quorum.properties_amqp(delivery_mode=1).delivery_mode == 1
    assert quorum.properties_amqp(headers={"a": 1}).headers == {"a": 1}


def test_a_property_that_nobody_knows_is_an_error() -> None:
    with pytest.raises(TypeError, match="colour"):
        quorum.properties_amqp(colour="red")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({1, 2}, "set is not JSON"),
        ({"a": float("nan")}, "not JSON compliant"),
        ("\ud800", "surrogates not allowed"),
        (object(), "object is not JSON"),
    ],
    ids=["set", "nan", "surrogate", "object"],
)
def test_a_body_that_cannot_be_written_is_refused(
    nobody: None, body: object, reason: str
) -> None:
    with pytest.raises(quorum.ServiceRefusedError, match=reason):
        quorum.publish_amqp(body, "letters")


def test_a_body_that_holds_itself_is_refused(nobody: None) -> None:
    body: list[object] = []
    body.append(body)

    with pytest.raises(quorum.ServiceRefusedError, match="cannot be written"):
        quorum.publish_amqp(body, "letters")


LONG = st.text("aé€", min_size=256, max_size=300)
BROKEN = st.text(min_size=1).map(lambda text: f"{text}\udc80")
TOO_MUCH = st.sampled_from([2**64, -(2**63) - 1, object(), 1j, {1: 2}])


@some
@given(st.one_of(LONG, BROKEN), st.booleans())
def test_a_name_that_amqp_cannot_carry_is_refused(
    nobody: None, name: str, is_exchange: bool
) -> None:
    names = ("letters", name) if is_exchange else (name, "")

    with pytest.raises(quorum.ServiceRefusedError, match="AMQP cannot carry"):
        quorum.publish_amqp(b"", *names)


@some
@given(
    st.one_of(
        st.fixed_dictionaries(
            {"headers": st.dictionaries(LONG, st.just(1), min_size=1)}
        ),
        st.fixed_dictionaries({"headers": st.fixed_dictionaries({"a": TOO_MUCH})}),
        st.fixed_dictionaries({"content_type": LONG}),
        st.fixed_dictionaries({"correlation_id": BROKEN}),
        st.fixed_dictionaries({"priority": st.integers(256)}),
        st.fixed_dictionaries({"expiration": st.integers(1)}),
    )
)
def test_a_property_that_amqp_cannot_carry_is_refused(
    nobody: None, properties: dict[str, t.Any]
) -> None:
    made = quorum.properties_amqp(**properties)

    with pytest.raises(quorum.ServiceRefusedError, match="AMQP cannot carry"):
        quorum.publish_amqp(b"", "letters", properties=made)


def test_properties_that_fill_more_than_a_frame_are_refused(nobody: None) -> None:
    headers = dict.fromkeys(string.ascii_lowercase, "x" * 6000)

    with pytest.raises(quorum.ServiceRefusedError, match="too large"):
        quorum.publish_amqp(
            b"", "letters", properties=quorum.properties_amqp(headers=headers)
        )


def test_a_broker_that_is_not_there_is_named(nobody: None) -> None:
    with pytest.raises(quorum.ServiceUnavailableError, match=r"amqp at 127\.0\.0\.1:"):
        quorum.publish_amqp(b"", "letters")
