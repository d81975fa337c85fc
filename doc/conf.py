"""Settings of the manual; every page is in ``source/``."""

import doctest
import pathlib

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx

import quorum

HERE = pathlib.Path(__file__).resolve().parent

project = "quorum"
author = "the quorum developers"
copyright = f"2026, {author}"
release = version = quorum.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.doctest",
    "sphinx.ext.intersphinx",
    "sphinx_autodoc_typehints",
    "sphinx_copybutton",
    "notfound.extension",
    "quorum.sphinxext",
]
nitpicky = True

autodoc_member_order = "bysource"
always_document_param_types = True
typehints_defaults = "comma"
typehints_document_rtype_none = False

# Text that anybody can review, and that needs no network.
intersphinx_mapping = {
    "python": ("https://docs.python.org/3", str(HERE / "inventories/python.txt")),
    "flask": (
        "https://flask.palletsprojects.com/en/stable",
        str(HERE / "inventories/flask.txt"),
    ),
    "pymongo": (
        "https://pymongo.readthedocs.io/en/stable",
        str(HERE / "inventories/pymongo.txt"),
    ),
    "redis": (
        "https://redis.readthedocs.io/en/stable",
        str(HERE / "inventories/redis.txt"),
    ),
    "boto3": (
        "https://docs.aws.amazon.com/boto3/latest",
        str(HERE / "inventories/boto3.txt"),
    ),
    "pydantic": (
        "https://docs.pydantic.dev/latest",
        str(HERE / "inventories/pydantic.txt"),
    ),
    "pika": (
        "https://pika.readthedocs.io/en/stable",
        str(HERE / "inventories/pika.txt"),
    ),
}

# What the checks compare the pages with.
quorum_variables = [
    "quorum.loading",
    "quorum.logs",
    "quorum.mail",
    "quorum.mongodb",
    "quorum.redisdb",
    "quorum.sessions",
    "quorum.amqp",
    "quorum.amazon",
    "quorum.queues",
]
quorum_api = [
    "quorum",
    "quorum.models",
    "quorum.mongodb",
    "quorum.parsers",
    "quorum.testing",
]
quorum_sources = [str(HERE.parent / "quorum")]
quorum_tests = [str(HERE.parent / "tests")]
quorum_environment = ["quorum/sources.py", "quorum/sphinxext.py"]
quorum_changelog = "changelog.rst"
quorum_permalinks = str(HERE / "permalinks.txt")

# Sphinx's own flags would let any message of an exception pass.
doctest_default_flags = doctest.DONT_ACCEPT_TRUE_FOR_1
doctest_global_setup = "import quorum"
doctest_global_cleanup = """
import quorum.state
for _state in quorum.state.loaded_states():
    quorum.unload(app=_state.app)
"""

html_theme = "furo"
html_title = f"quorum {release}"
html_theme_options = {"source_directory": "doc/source/"}
html_static_path = ["source/_static"]
html_css_files = ["quorum.css"]
html_favicon = "source/_static/quorum.svg"
copybutton_prompt_text = r"\$ |> |>>> |\.\.\. "
copybutton_prompt_is_regexp = True
copybutton_copy_empty_lines = False
copybutton_line_continuation_character = "\\"
notfound_urls_prefix = "/"

epub_show_urls = "no"
suppress_warnings = ["epub.unknown_project_files"]

# Where a class is defined, and the name that its own manual has it under.
_PUBLIC = {
    "ValidationError": "pydantic.ValidationError",
    "bson.ObjectId": "bson.objectid.ObjectId",
    "flask.app.Flask": "flask.Flask",
    "pika.adapters.blocking_connection.BlockingConnection": "pika.BlockingConnection",
    "pika.spec.BasicProperties": "pika.BasicProperties",
    "pymongo.synchronous.mongo_client.MongoClient": "pymongo.mongo_client.MongoClient",
    "pymongo.synchronous.database.Database": "pymongo.database.Database",
    "quorum.queries.Where": "quorum.models.Where",
    "redis.client.Redis": "redis.Redis",
    **{
        f"{getattr(quorum, name).__module__}.{name}": f"quorum.{name}"
        for name in quorum.__all__
        if isinstance(getattr(quorum, name), type)
    },
}


def use_public_names(app: Sphinx, doctree: nodes.document) -> None:
    """Link types by their public names; the type hints have the private ones."""
    for node in doctree.findall(addnodes.pending_xref):
        target = node.get("reftarget")
        node["reftarget"] = _PUBLIC.get(target, target)


def setup(app: Sphinx) -> None:
    app.connect("doctree-read", use_public_names)
