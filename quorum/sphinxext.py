"""Sphinx directives for manuals whose facts are compared with the code."""

import typing as t

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.domains.std import ConfigurationValue
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata


def _status(argument: str) -> str:
    return str(directives.choice(argument, ("planned", "deprecated")))


class Confval(ConfigurationValue):
    """A configuration variable: Sphinx's ``confval`` with all of our facts."""

    option_spec: t.ClassVar = {
        **ConfigurationValue.option_spec,
        "since": directives.unchanged_required,
        "aliases": directives.unchanged_required,
        "secret": directives.flag,
        "status": _status,
    }

    def transform_content(self, content_node: addnodes.desc_content) -> None:
        """Show the facts as a list in front of the description."""
        super().transform_content(content_node)
        shown = [("Since", self.options.get("since"))]
        shown.append(("Aliases", self.options.get("aliases")))
        if "secret" in self.options:
            name = self.arguments[0].strip()
            shown.append(("Secret", f"yes; ``{name}_FILE`` may name its file"))
        if "status" in self.options:
            shown.append(("Status", f"{self.options['status']}, not available yet"))
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


def setup(app: Sphinx) -> ExtensionMetadata:
    """Add the directives to a Sphinx application.

    :param app: The application.
    :returns: What Sphinx has to know about the extension.
    """
    app.add_directive_to_domain("std", "confval", Confval, override=True)
    app.add_directive("planned", Planned)
    return {
        "version": "0.2.0",
        "env_version": 1,
        "parallel_read_safe": True,
        "parallel_write_safe": True,
    }
