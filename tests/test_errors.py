import copy
import inspect
import pickle
import typing as t

import pytest

from quorum import errors
from quorum.errors import Problem

BAD_PORT = Problem("PORT", "environment", "'x' is not a whole number.")
BAD_HOST = Problem("HOST", ".env", "'a b' is not a host.")
PLACE = ("redis", "db.example.org", 6379, "the connection was closed")

#: The built-in base of each error, as the manual promises it.
BASES: dict[type[errors.QuorumError], type[Exception]] = {
    errors.QuorumError: Exception,
    errors.ConfigError: ValueError,
    errors.SettingMissingError: ValueError,
    errors.LoadError: RuntimeError,
    errors.NotLoadedError: RuntimeError,
    errors.AppAmbiguousError: RuntimeError,
    errors.ExecutionDisabledError: RuntimeError,
    errors.TaskError: ValueError,
    errors.TaskNotRunError: RuntimeError,
    errors.UnsupportedError: NotImplementedError,
    errors.MissingDependencyError: ImportError,
    errors.ConflictError: RuntimeError,
    errors.DuplicateError: ValueError,
    errors.DocumentError: ValueError,
    errors.ObjectIdError: ValueError,
    errors.SessionValueError: ValueError,
    errors.ServiceError: Exception,
    errors.ServiceUnavailableError: ConnectionError,
    errors.ServiceRefusedError: errors.ServiceError,
    errors.MessageError: ValueError,
    errors.MailUncertainError: errors.ServiceError,
    errors.ReceiversRefusedError: errors.ServiceRefusedError,
}

#: Errors of each kind with all of their facts.
SAMPLES: list[errors.QuorumError] = [
    errors.QuorumError("It failed."),
    errors.ConfigError(BAD_PORT),
    errors.ConfigError(BAD_PORT, BAD_HOST),
    errors.SettingMissingError("PORT", "Set it to a whole number."),
    errors.SettingMissingError("PORT"),
    errors.LoadError("The app 'shop' is loaded already."),
    errors.NotLoadedError("shop"),
    errors.NotLoadedError(),
    errors.AppAmbiguousError("shop", "bank"),
    errors.ExecutionDisabledError("shop"),
    errors.TaskError("shop.pay", "It is not callable"),
    errors.TaskNotRunError("shop.pay", "cancelled"),
    errors.UnsupportedError("The server 'cherry'", "Choose 'base'."),
    errors.UnsupportedError("The server 'cherry'"),
    errors.MissingDependencyError("python-dotenv", "dotenv"),
    errors.ConflictError("Person", "6b031a82b089c967c135a2d2"),
    errors.DuplicateError("Person", "email"),
    errors.DuplicateError("Person", ""),
    errors.DocumentError("Person", "6b031a82b089c967c135a2d2", "age: missing"),
    errors.ObjectIdError("'x'"),
    errors.SessionValueError("cart", "a set is not JSON serializable."),
    errors.ServiceError(*PLACE),
    errors.MessageError("sender", "there is none. Pass it, or set SMTP_SENDER."),
    errors.MailUncertainError(*PLACE),
    errors.ReceiversRefusedError(*PLACE[:3], {"ann@example.org": "450 busy"}),
    errors.ServiceUnavailableError(*PLACE),
    errors.ServiceRefusedError(*PLACE),
    errors.ServiceRefusedError("amazon", "", 0, "there are no keys to use."),
    errors.ServiceUnavailableError("amazon", "s3.example.org", 0, "it timed out"),
]

every_class = pytest.mark.parametrize("cls", BASES, ids=lambda cls: cls.__name__)
every_sample = pytest.mark.parametrize("sample", SAMPLES, ids=repr)


def leaves(value: object) -> t.Iterator[object]:
    if isinstance(value, dict):
        value = (*value, *value.values())
    if isinstance(value, tuple):
        for item in value:
            yield from leaves(item)
    else:
        yield value


def test_the_tables_of_these_tests_hold_every_error() -> None:
    there = {
        item
        for _, item in inspect.getmembers(errors, inspect.isclass)
        if issubclass(item, BaseException)
    }

    assert there == set(BASES)
    assert there == {type(sample) for sample in SAMPLES}


@every_class
def test_every_error_is_a_quorum_error(cls: type[Exception]) -> None:
    assert issubclass(cls, errors.QuorumError)


@every_class
def test_the_name_of_every_error_ends_in_error(cls: type[Exception]) -> None:
    assert cls.__name__.endswith("Error")


@every_class
def test_every_error_can_be_caught_as_the_built_in_that_fits(
    cls: type[errors.QuorumError],
) -> None:
    assert issubclass(cls, BASES[cls])


@pytest.mark.parametrize(
    "cls", [errors.ServiceUnavailableError, errors.ServiceRefusedError]
)
def test_what_a_server_did_not_do_is_a_service_error(cls: type[Exception]) -> None:
    assert issubclass(cls, errors.ServiceError)


def test_a_server_that_refuses_is_no_connection_error_that_one_tries_again() -> None:
    assert not issubclass(errors.ServiceRefusedError, OSError)


@every_class
def test_the_tree_in_the_docstring_names_every_error(cls: type[Exception]) -> None:
    assert cls.__name__ in str(errors.__doc__).replace("(", " ").split()


@pytest.mark.parametrize(
    ("cls", "base"),
    [item for item in BASES.items() if item[1] in item[0].__bases__[1:]],
)
def test_the_tree_in_the_docstring_names_the_built_in_base(
    cls: type[Exception], base: type[Exception]
) -> None:
    assert f"{cls.__name__} ({base.__name__})" in str(errors.__doc__)


@every_class
def test_every_error_has_a_docstring_of_whole_sentences(cls: type[Exception]) -> None:
    assert cls.__doc__
    assert cls.__doc__.splitlines()[0].endswith(".")


@every_sample
def test_every_error_survives_pickling(sample: errors.QuorumError) -> None:
    again = pickle.loads(pickle.dumps(sample))

    assert type(again) is type(sample)
    assert str(again) == str(sample)
    assert again.args == sample.args
    assert vars(again) == vars(sample)


@every_sample
def test_every_error_can_be_copied(sample: errors.QuorumError) -> None:
    again = copy.copy(sample)

    assert str(again) == str(sample)
    assert vars(again) == vars(sample)


@every_sample
def test_a_note_survives_pickling(sample: errors.QuorumError) -> None:
    noted = copy.copy(sample)
    noted.add_note("Seen at noon.")

    again = pickle.loads(pickle.dumps(noted))

    assert again.__notes__ == ["Seen at noon."]


@every_sample
def test_the_sentence_of_every_error_ends_with_a_full_stop(
    sample: errors.QuorumError,
) -> None:
    assert str(sample).endswith(".")
    assert not str(sample).endswith("..")


@every_sample
def test_no_error_leaves_gaps_or_doubled_stops_in_its_sentence(
    sample: errors.QuorumError,
) -> None:
    for gap in ("  ", " .", "..", "''", "None"):
        assert gap not in str(sample).replace("\n  - ", " ")


@every_sample
def test_the_sentence_of_every_error_tells_all_the_facts(
    sample: errors.QuorumError,
) -> None:
    for fact in leaves(sample.args):
        if fact not in (0, ""):
            assert str(fact).rstrip(".") in str(sample)


@every_sample
def test_the_repr_of_every_error_tells_all_the_facts(
    sample: errors.QuorumError,
) -> None:
    for fact in leaves(sample.args):
        assert repr(fact) in repr(sample)


def test_a_config_error_of_several_problems_counts_and_lists_them() -> None:
    error = errors.ConfigError(BAD_PORT, BAD_HOST)

    assert str(error) == (
        "2 configuration problems:\n"
        "  - PORT (environment): 'x' is not a whole number.\n"
        "  - HOST (.env): 'a b' is not a host."
    )


def test_a_config_error_of_one_problem_is_one_line() -> None:
    error = errors.ConfigError(BAD_PORT)

    assert str(error) == "PORT (environment): 'x' is not a whole number."


def test_a_config_error_has_its_problems_as_its_arguments() -> None:
    error = errors.ConfigError(BAD_PORT, BAD_HOST)

    assert error.problems == error.args == (BAD_PORT, BAD_HOST)


def test_a_missing_setting_is_a_config_error_with_one_problem() -> None:
    error = errors.SettingMissingError("PORT", "Set it to a whole number.")

    assert isinstance(error, errors.ConfigError)
    assert (error.name, error.hint) == error.args
    assert [problem.name for problem in error.problems] == ["PORT"]


def test_a_missing_dependency_says_how_to_install_it() -> None:
    error = errors.MissingDependencyError("python-dotenv", "dotenv")

    assert (error.library, error.extra) == error.args
    assert str(error) == (
        "'python-dotenv' is not installed. "
        "Install it with: pip install 'quorum-flask[dotenv]'."
    )


@pytest.mark.parametrize(
    "cls",
    [
        errors.ServiceError,
        errors.ServiceUnavailableError,
        errors.ServiceRefusedError,
    ],
)
def test_a_service_error_has_all_four_facts(cls: type[errors.ServiceError]) -> None:
    error = cls(*PLACE)

    assert (error.service, error.host, error.port, error.reason) == PLACE
    assert error.args == PLACE


def test_a_server_that_is_not_there_may_be_tried_again() -> None:
    assert str(errors.ServiceUnavailableError(*PLACE)) == (
        "redis at db.example.org:6379: the connection was closed. "
        "Trying again may help."
    )


def test_only_what_is_unavailable_is_worth_another_try() -> None:
    assert errors.ServiceUnavailableError(*PLACE).retryable
    assert not errors.ServiceRefusedError(*PLACE).retryable


def test_several_apps_are_named_and_the_remedy_too() -> None:
    error = errors.AppAmbiguousError("shop", "bank")

    assert error.names == ("shop", "bank")
    assert "2 apps are loaded ('shop', 'bank')" in str(error)
    assert "with app.app_context():" in str(error)


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (errors.NotLoadedError(), "Call quorum.load() first."),
        (errors.NotLoadedError("shop"), "Call quorum.load(app=…) first."),
    ],
)
def test_what_is_not_loaded_can_be_loaded(error: Exception, remedy: str) -> None:
    assert str(error).endswith(remedy)


def test_a_problem_reads_as_name_source_and_sentence() -> None:
    assert str(BAD_HOST) == "HOST (.env): 'a b' is not a host."
