"""One ``load()`` wires a Flask app to its services; see the manual."""

import importlib
import typing as t
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import flask

    from quorum import mongodb as mongodb
    from quorum import parsers as parsers
    from quorum import testing as testing
    from quorum.amazon import clear_amazon_bucket as clear_amazon_bucket
    from quorum.amazon import delete_amazon_key as delete_amazon_key
    from quorum.amazon import exists_amazon_key as exists_amazon_key
    from quorum.amazon import get_amazon as get_amazon
    from quorum.amazon import get_amazon_bucket as get_amazon_bucket
    from quorum.amazon import get_amazon_key as get_amazon_key
    from quorum.amqp import get_amqp as get_amqp
    from quorum.amqp import properties_amqp as properties_amqp
    from quorum.amqp import publish_amqp as publish_amqp
    from quorum.config import Settings as Settings
    from quorum.config import Variable as Variable
    from quorum.config import variable as variable
    from quorum.errors import AppAmbiguousError as AppAmbiguousError
    from quorum.errors import ConfigError as ConfigError
    from quorum.errors import ConflictError as ConflictError
    from quorum.errors import DocumentError as DocumentError
    from quorum.errors import DuplicateError as DuplicateError
    from quorum.errors import ExecutionDisabledError as ExecutionDisabledError
    from quorum.errors import LoadError as LoadError
    from quorum.errors import MailUncertainError as MailUncertainError
    from quorum.errors import MessageError as MessageError
    from quorum.errors import MissingDependencyError as MissingDependencyError
    from quorum.errors import NotLoadedError as NotLoadedError
    from quorum.errors import ObjectIdError as ObjectIdError
    from quorum.errors import Problem as Problem
    from quorum.errors import QuorumError as QuorumError
    from quorum.errors import ReceiversRefusedError as ReceiversRefusedError
    from quorum.errors import ServiceError as ServiceError
    from quorum.errors import ServiceRefusedError as ServiceRefusedError
    from quorum.errors import ServiceUnavailableError as ServiceUnavailableError
    from quorum.errors import SessionValueError as SessionValueError
    from quorum.errors import SettingMissingError as SettingMissingError
    from quorum.errors import TaskError as TaskError
    from quorum.errors import TaskNotRunError as TaskNotRunError
    from quorum.errors import UnsupportedError as UnsupportedError
    from quorum.loading import call_run as call_run
    from quorum.loading import check_services as check_services
    from quorum.loading import load as load
    from quorum.loading import onrun as onrun
    from quorum.loading import run as run
    from quorum.loading import unload as unload
    from quorum.logs import critical as critical
    from quorum.logs import debug as debug
    from quorum.logs import error as error
    from quorum.logs import get_log as get_log
    from quorum.logs import info as info
    from quorum.logs import warning as warning
    from quorum.mail import send_mail as send_mail
    from quorum.mail import send_mail_a as send_mail_a
    from quorum.messages import Attachment as Attachment
    from quorum.models import Id as Id
    from quorum.models import Model as Model
    from quorum.models import field as field
    from quorum.models import where as where
    from quorum.mongodb import drop_mongo_db as drop_mongo_db
    from quorum.mongodb import dumps_mongo as dumps_mongo
    from quorum.mongodb import get_mongo as get_mongo
    from quorum.mongodb import get_mongo_db as get_mongo_db
    from quorum.mongodb import object_id as object_id
    from quorum.objects import AmazonBucket as AmazonBucket
    from quorum.objects import AmazonKey as AmazonKey
    from quorum.redisdb import dumps_redis as dumps_redis
    from quorum.redisdb import get_redis as get_redis
    from quorum.sessions import bind_session as bind_session
    from quorum.sessions import revoke_sessions as revoke_sessions
    from quorum.sessions import rotate_session as rotate_session
    from quorum.state import get_request_id as get_request_id
    from quorum.tasks import Task as Task
    from quorum.tasks import background as background
    from quorum.tasks import run_back as run_back
    from quorum.tasks import run_background as run_background
    from quorum.values import conf as conf
    from quorum.values import conf_override as conf_override
    from quorum.values import conf_prefix as conf_prefix
    from quorum.values import conf_suffix as conf_suffix
    from quorum.values import confd as confd
    from quorum.values import confr as confr
    from quorum.values import confs as confs
    from quorum.values import get_settings as get_settings

    APP: flask.Flask | None

__version__ = "0.2.0"

__all__ = [
    "APP",
    "AmazonBucket",
    "AmazonKey",
    "AppAmbiguousError",
    "Attachment",
    "ConfigError",
    "ConflictError",
    "DocumentError",
    "DuplicateError",
    "ExecutionDisabledError",
    "LoadError",
    "MailUncertainError",
    "MessageError",
    "MissingDependencyError",
    "NotLoadedError",
    "ObjectIdError",
    "Problem",
    "QuorumError",
    "ReceiversRefusedError",
    "ServiceError",
    "ServiceRefusedError",
    "ServiceUnavailableError",
    "SessionValueError",
    "SettingMissingError",
    "Settings",
    "Task",
    "TaskError",
    "TaskNotRunError",
    "UnsupportedError",
    "Variable",
    "background",
    "bind_session",
    "call_run",
    "check_services",
    "clear_amazon_bucket",
    "conf",
    "conf_override",
    "conf_prefix",
    "conf_suffix",
    "confd",
    "confr",
    "confs",
    "critical",
    "debug",
    "delete_amazon_key",
    "drop_mongo_db",
    "dumps_mongo",
    "dumps_redis",
    "error",
    "exists_amazon_key",
    "get_amazon",
    "get_amazon_bucket",
    "get_amazon_key",
    "get_amqp",
    "get_log",
    "get_mongo",
    "get_mongo_db",
    "get_redis",
    "get_request_id",
    "get_settings",
    "info",
    "load",
    "mongodb",
    "object_id",
    "onrun",
    "parsers",
    "properties_amqp",
    "publish_amqp",
    "revoke_sessions",
    "rotate_session",
    "run",
    "run_back",
    "run_background",
    "send_mail",
    "send_mail_a",
    "testing",
    "unload",
    "variable",
    "warning",
]

#: Public too, but a star import must not import pydantic, which they need.
_LATE = ["Id", "Model", "field", "where"]

#: The module of each public name; it is imported when one of its names is used.
_HOMES = {
    "amazon": "clear_amazon_bucket delete_amazon_key exists_amazon_key get_amazon "
    "get_amazon_bucket get_amazon_key",
    "amqp": "get_amqp properties_amqp publish_amqp",
    "config": "Settings Variable variable",
    "errors": "AppAmbiguousError ConfigError ConflictError DocumentError "
    "DuplicateError ExecutionDisabledError LoadError MailUncertainError MessageError "
    "MissingDependencyError NotLoadedError ObjectIdError Problem QuorumError "
    "ReceiversRefusedError ServiceError ServiceRefusedError ServiceUnavailableError "
    "SessionValueError SettingMissingError TaskError TaskNotRunError UnsupportedError",
    "loading": "call_run check_services load onrun run unload",
    "logs": "critical debug error get_log info warning",
    "mail": "send_mail send_mail_a",
    "messages": "Attachment",
    "models": "Id Model field where",
    "mongodb": "drop_mongo_db dumps_mongo get_mongo get_mongo_db object_id",
    "objects": "AmazonBucket AmazonKey",
    "redisdb": "dumps_redis get_redis",
    "sessions": "bind_session revoke_sessions rotate_session",
    "state": "get_request_id",
    "tasks": "Task background run_back run_background",
    "values": "conf conf_override conf_prefix conf_suffix confd confr confs "
    "get_settings",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> t.Any:
    if name == "APP":
        return importlib.import_module("quorum.state").get_app()
    if name in _HOME_OF:
        require = importlib.import_module("quorum.extras").require
        found = globals()[name] = require(f"quorum.{_HOME_OF[name]}:{name}")
        return found
    if name in __all__:
        return importlib.import_module(f"quorum.{name}")
    raise AttributeError(f"module 'quorum' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_LATE})
