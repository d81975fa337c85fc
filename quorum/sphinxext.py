"""A Sphinx extension for manuals whose facts are compared with the code.

Settings of ``conf.py``:

``quorum_variables``
    Modules that declare configuration variables; the ``confval`` entries of the
    manual are compared with what they declare.
``quorum_api``
    Modules whose ``__all__`` the API reference is compared with.
``quorum_sources``
    Folders of the code; names that it reads by ``conf`` have to be declared.
``quorum_tests``
    Folders of the tests; they have to name every error of the API reference.
``quorum_environment``
    Endings of the files that may read the environment of the process.
``quorum_changelog``
    Page of the changelog; its top entry has to be ``release``.
``quorum_release``
    Whether this is the manual of a release, in which nothing may be planned.
``quorum_permalinks``
    File of the permalinks that were published; none of them may vanish.
"""

import importlib
import os
import pathlib
import typing as t
from collections.abc import Iterator

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.domains.std import ConfigurationValue
from sphinx.errors import ConfigError
from sphinx.ext.doctest import DocTestBuilder
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata, OptionSpec

from quorum import manual, reference
from quorum.config import VARIABLES
from quorum.manual import Finding, Place

LOGGER = logging.getLogger(__name__)


def _status(argument: str) -> str:
    return str(directives.choice(argument, ("planned",)))


class Confval(ConfigurationValue):
    """A configuration variable: Sphinx's ``confval`` with all of our facts."""

    option_spec: t.ClassVar[OptionSpec] = {
        **ConfigurationValue.option_spec,
        "value": directives.unchanged_required,
        "since": directives.unchanged_required,
        "aliases": directives.unchanged_required,
        "secret": directives.flag,
        "status": _status,
    }

    def transform_content(self, content_node: addnodes.desc_content) -> None:
        """Show the facts as a list in front of the description."""
        super().transform_content(content_node)
        shown = [(name.title(), self.options.get(name)) for name in ("value", "since")]
        shown.append(("Aliases", self.options.get("aliases")))
        if "secret" in self.options:
            name = self.arguments[0].strip()
            shown.append(("Secret", f"yes; ``{name}_FILE`` may name its file"))
        if "status" in self.options:
            shown.append(("Status", "planned, not available yet"))
        for label, text in shown:
            if text is not None:
                self._add_field(content_node, label, text)

    def _add_field(
        self, content_node: addnodes.desc_content, label: str, text: str
    ) -> None:
        parsed, messages = self.parse_inline(text, lineno=self.lineno)
        field = nodes.field()
        field += nodes.field_name("", label)
        field += nodes.field_body("", nodes.paragraph("", "", *parsed))
        first = content_node.children[0] if content_node.children else None
        if not isinstance(first, nodes.field_list):
            first = nodes.field_list()
            content_node.insert(0, first)
        first += field
        first += messages


class Planned(SphinxDirective):
    """A block on what is not available yet; its examples are not run."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Return the block, as an admonition."""
        block = nodes.admonition(classes=["planned"])
        block += nodes.title("", "Planned, not available yet")
        block += self.parse_content_to_nodes()
        return [block]


class CheckedDocTestBuilder(DocTestBuilder):
    """Sphinx's ``doctest`` builder, which lets no example be skipped in CI."""

    def skipped(self, node: nodes.Element) -> bool:
        """Return whether an example is skipped; where CI is set, warn of it."""
        skipped = super().skipped(node)
        if skipped and os.environ.get("CI"):
            place = Place(node.source or "", node.line or 0)
            _warn(Finding("example-skipped", place, "this example is not run"))
        return skipped


def check(app: Sphinx, exception: Exception | None) -> None:
    """Compare the manual with the code; each disagreement becomes a warning.

    :param app: The application.
    :param exception: What ended the build, if it failed.
    """
    if exception is None:
        for finding in _findings(app):
            _warn(finding)


def _findings(app: Sphinx) -> Iterator[Finding]:
    config = app.config
    pages = [
        manual.Page(str(app.env.doc2path(name))) for name in sorted(app.env.found_docs)
    ]
    if config.quorum_variables:
        for module in config.quorum_variables:
            _import(module)
        modules = tuple(config.quorum_variables)
        owned = {k: v for k, v in VARIABLES.items() if v.module in modules}
        code = manual.Code(config.quorum_sources)
        yield from manual.check_variables(pages, owned, code)
        yield from manual.check_reads(code, config.quorum_environment)
    if config.quorum_api:
        tests = "".join(
            path.read_text("utf-8")
            for folder in config.quorum_tests
            for path in sorted(pathlib.Path(folder).rglob("*.py"))
        )
        yield from reference.check_api(pages, config.quorum_api, tests)
    if config.quorum_changelog:
        ending = f"{os.sep}{config.quorum_changelog}"
        yield from manual.check_versions(pages, ending, config.release)
    yield from manual.check_pages(pages)
    if config.quorum_release:
        yield from manual.check_planned(pages)
    if config.quorum_permalinks:
        yield from _check_permalinks(app)


def _check_permalinks(app: Sphinx) -> Iterator[Finding]:
    """Find permalinks that were published, and that this build does not have."""
    path = pathlib.Path(app.config.quorum_permalinks)
    there = set(app.env.found_docs)
    for domain in app.env.domains.sorted():
        there |= {f"{item[3]}#{item[4]}" for item in domain.get_objects()}
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if line and line not in there:
            text = f"{line} was published, and the manual has it no more"
            yield Finding("permalink-gone", Place(str(path), number), text)


def _import(module: str) -> None:
    try:
        importlib.import_module(module)
    except ImportError as error:
        fault = f"quorum_variables: {module!r} cannot be imported: {error}"
        raise ConfigError(fault) from error


def _warn(finding: Finding) -> None:
    file, line = finding.place
    location = f"{file}:{line}" if file else None
    LOGGER.warning(finding.text, type="quorum", subtype=finding.code, location=location)


def setup(app: Sphinx) -> ExtensionMetadata:
    """Add the directives, the builder and the checks to a Sphinx application.

    :param app: The application.
    :returns: What Sphinx has to know about the extension.
    """
    app.setup_extension("sphinx.ext.doctest")
    app.add_directive_to_domain("std", "confval", Confval, override=True)
    app.add_directive("planned", Planned)
    app.add_builder(CheckedDocTestBuilder, override=True)
    for name in ("variables", "api", "sources", "tests", "environment"):
        app.add_config_value(f"quorum_{name}", [], "", [list, tuple])
    app.add_config_value("quorum_changelog", "", "", [str])
    app.add_config_value("quorum_permalinks", "", "", [str])
    app.add_config_value("quorum_release", False, "", [bool])
    app.connect("build-finished", check)
    return {
        "version": "0.2.0",
        "env_version": 1,
        "parallel_read_safe": True,
        "parallel_write_safe": True,
    }
