"""Reads the pages of a manual, and compares their facts with the code.

Every disagreement is a :class:`Finding`; :mod:`quorum.sphinxext` makes warnings of
them. The pages are read as they were written, not as Sphinx shows them: extensions
that render types replace the signatures of the manual by those of the code.
"""

import ast
import pathlib
import re
import textwrap
import typing as t
from collections.abc import Iterable, Iterator, Mapping, Sequence

from quorum.config import SPELLINGS, Variable


class Place(t.NamedTuple):
    """Where something stands: a file, and a line that counts from 1."""

    file: str
    line: int


class Finding(t.NamedTuple):
    """One disagreement."""

    code: str
    place: Place
    text: str


class Directive(t.NamedTuple):
    """A directive of a page, as it was written."""

    name: str
    argument: str
    options: Mapping[str, str]
    body: str
    place: Place
    #: Names of the directives around it.
    around: tuple[str, ...]

    @property
    def planned(self) -> bool:
        """Whether it is on what is not available yet."""
        return "planned" in self.around or self.options.get("status") == "planned"


#: Directives whose content is shown as it is; what looks like one there is none.
_VERBATIM = {"code-block", "testcode", "testoutput", "doctest", "parsed-literal"}
_VERBATIM |= {"testsetup", "testcleanup", "raw"}


class Page:
    """A page of the manual.

    :param file: Its path.
    """

    def __init__(self, file: str) -> None:
        self.file = file
        self.text: str = pathlib.Path(file).read_text("utf-8")
        self.lines: list[str] = self.text.splitlines()
        self.directives: list[Directive] = list(self._read())

    def _read(self) -> Iterator[Directive]:
        stack: list[tuple[int, str]] = []
        for index, line in enumerate(self.lines):
            indent = len(line) - len(line.lstrip())
            if line.strip():
                while stack and stack[-1][0] >= indent:
                    stack.pop()
            if any(name in _VERBATIM for _, name in stack):
                continue
            found = re.fullmatch(r"\s*\.\. ([\w:-]+)::(?:\s+(.*))?", line)
            if found:
                yield self._read_one(index, indent, found, [name for _, name in stack])
                stack.append((indent, found[1]))

    def _read_one(
        self, index: int, indent: int, found: re.Match[str], around: list[str]
    ) -> Directive:
        options: dict[str, str] = {}
        body: list[str] = []
        for line in self.lines[index + 1 :]:
            if line.strip() and len(line) - len(line.lstrip()) <= indent:
                break
            option = re.fullmatch(r"\s+:([\w-]+):\s*(.*)", line)
            if option and not body:
                options[option[1]] = option[2].strip()
            else:
                body.append(line)
        text = textwrap.dedent("\n".join(body)).strip("\n")
        place = Place(self.file, index + 1)
        argument = (found[2] or "").strip()
        name = found[1].removeprefix("py:")
        return Directive(name, argument, options, text, place, tuple(around))

    def search(self, pattern: str) -> Iterator[tuple[str, Place]]:
        """Yield the first group of each match of a pattern, and where it is."""
        for match in re.finditer(pattern, self.text, re.MULTILINE):
            line = self.text.count("\n", 0, match.start(1)) + 1
            yield match[1], Place(self.file, line)


class Code:
    """The Python files of a package, parsed once.

    :param folders: The folders that hold them.
    """

    def __init__(self, folders: Iterable[str]) -> None:
        self.trees: dict[str, ast.Module] = {}
        for folder in folders:
            for path in sorted(pathlib.Path(folder).rglob("*.py")):
                self.trees[str(path)] = ast.parse(path.read_bytes(), str(path))

    def calls(self, name: str) -> Iterator[tuple[str, Place]]:
        """Yield the first argument of each call of a function, if it is a text."""
        for file, tree in self.trees.items():
            for node in ast.walk(tree):
                if not isinstance(node, ast.Call) or last_name(node.func) != name:
                    continue
                first = node.args[0] if node.args else None
                if isinstance(first, ast.Constant) and isinstance(first.value, str):
                    yield first.value, Place(file, node.lineno)

    def environment_reads(self) -> Iterator[Place]:
        """Yield every place that touches the environment of the process."""
        names = {"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"}
        for file, tree in self.trees.items():
            for node in ast.walk(tree):
                used: Iterable[str] = ()
                if isinstance(node, ast.Attribute):
                    # However the module was named when it was imported.
                    used = [node.attr] if last_name(node.value)[-2:] == "os" else []
                elif isinstance(node, ast.ImportFrom) and node.module == "os":
                    used = [alias.name for alias in node.names]
                else:
                    continue
                if names.intersection(used):
                    yield Place(file, node.lineno)


def check_variables(
    pages: Sequence[Page], variables: Mapping[str, Variable[t.Any]], code: Code
) -> Iterator[Finding]:
    """Compare the ``confval`` entries of the manual with the declared variables.

    :param pages: The manual.
    :param variables: The variables by their names.
    :param code: Where they are declared.
    :yields: Each disagreement.
    """
    declared = dict(code.calls("variable"))
    entries: dict[str, Directive] = {}
    for entry in _directives(pages, "confval"):
        name = entry.argument
        if name in entries:
            text = f"{name} has another entry on line {entries[name].place.line}"
            yield Finding("config-twice", entry.place, text)
        entries[name] = entry
        if name in variables:
            yield from _check_variable(entry, variables[name])
        elif not entry.planned:
            text = f"{name} is in the manual, but the code does not declare it"
            yield Finding("config-unknown", entry.place, text)
    for name in sorted({*variables, *declared} - set(entries)):
        text = f"{name} is declared, but has no 'confval' in the manual"
        place = declared.get(name, Place("", 0))
        yield Finding("config-undocumented", place, text)


def _check_variable(entry: Directive, variable: Variable[t.Any]) -> Iterator[Finding]:
    if entry.planned:
        text = f"{variable.name} is marked as planned, but the code has it"
        yield Finding("config-planned", entry.place, text)
    options = entry.options
    aliases = tuple(re.findall(r"\w+", options.get("aliases", "")))
    default = repr(variable.default) if variable.has_default else None
    facts: list[tuple[str, object, object]] = [
        ("type", options.get("type"), variable.parser.type_name),
        ("value", options.get("value"), variable.parser.expects),
        ("default", _literal(options.get("default")), default),
        ("since", options.get("since", ""), variable.since),
        ("secret", "secret" in options, variable.secret),
        ("aliases", aliases, variable.aliases),
        ("help", _first_words(entry.body, variable.help), variable.help),
    ]
    for fact, written, real in facts:
        if written != real:
            text = f"{variable.name}: the manual says {written!r}, the code {real!r}"
            yield Finding(f"config-{fact}", entry.place, text)


def _first_words(body: str, sentence: str) -> str:
    """Return the sentence if a text begins with it, else the text's first line."""
    paragraph = " ".join(body.partition("\n\n")[0].split())
    begins = f"{paragraph} ".startswith(f"{sentence} ")
    return sentence if begins else body.partition("\n")[0]


def check_reads(code: Code, allowed: Sequence[str]) -> Iterator[Finding]:
    """Find configuration that is read past the declared variables.

    :param code: The code.
    :param allowed: Endings of the files that may read the environment.
    :yields: Each such place.
    """
    for name, place in code.calls("conf"):
        if name not in SPELLINGS:
            text = f"conf({name!r}) reads a name that is not declared"
            yield Finding("config-read", place, text)
    for place in code.environment_reads():
        if not place.file.endswith(tuple(allowed)):
            text = "the environment is read past the declared variables"
            yield Finding("config-read", place, text)


def check_versions(
    pages: Sequence[Page], changelog: str, version: str
) -> Iterator[Finding]:
    """Compare the changelog with the package, and all versions with the changelog.

    :param pages: The manual.
    :param changelog: How the name of the changelog's file ends.
    :param version: The version of the package.
    :yields: Each disagreement.
    """
    places: list[tuple[str, Place]] = []
    for page in pages:
        if page.file.endswith(changelog):
            places.extend(page.search(r"^(\d+(?:\.\d+)+)(?: \(.*\))?\n-+$"))
    top, place = places[0] if places else ("", Place(changelog, 1))
    if top != version:
        text = f"the top entry is {top or 'missing'}, the package is {version}"
        yield Finding("changelog-version", place, text)
    numbers = [[int(part) for part in name.split(".")] for name, _ in places]
    for later, sooner, (name, place) in zip(
        numbers, numbers[1:], places[1:], strict=False
    ):
        if sooner >= later:
            text = f"{name} stands below a version that is not newer"
            yield Finding("changelog-version", place, text)
    known = {name for name, _ in places}
    told = {"versionadded", "versionchanged", "deprecated", "versionremoved"}
    for page in pages:
        for entry in page.directives:
            named = None
            if entry.name == "confval" and not entry.planned:
                named = entry.options.get("since")
            if entry.name in told:
                named = entry.argument.partition(" ")[0]
            if named is not None and named not in known:
                text = f"{named} is no version that the changelog has"
                yield Finding("version-unknown", entry.place, text)


def check_planned(pages: Sequence[Page]) -> Iterator[Finding]:
    """Find what is planned, which no release may describe."""
    for page in pages:
        for entry in page.directives:
            if entry.name == "planned" or entry.options.get("status") == "planned":
                text = "this is planned, and a release must not describe it"
                yield Finding("release-planned", entry.place, text)


def check_pages(pages: Sequence[Page]) -> Iterator[Finding]:
    """Find unused terms, words left for later, and Python that nothing runs."""
    used: set[str] = set()
    for page in pages:
        for text, _ in page.search(r":term:`([^`]+)`"):
            used.add((re.findall(r"<(.+)>", text) or [text])[0])
        for word, place in page.search(r"\b(TODO|FIXME|XXX|TBD)\b"):
            yield Finding("page-todo", place, f"the page says {word}")
        for text, place in page.search(r"^(?! *\.\. )(.*\S.*::)$"):
            fault = f"a block without a language follows {text.strip()!r}"
            yield Finding("example-not-run", place, f"{fault}; use a directive")
        for text, place in page.search(r"(doctest: *\+SKIP)"):
            yield Finding("example-skipped", place, f"{text} leaves this example out")
        for entry in page.directives:
            shown = entry.name in ("code-block", "code", "sourcecode")
            if shown and entry.argument not in _PLAIN and not entry.planned:
                fault = "nothing runs this block; use 'testcode' or 'doctest'"
                yield Finding("example-not-run", entry.place, fault)
    for entry in _directives(pages, "glossary"):
        for offset, line in enumerate(entry.body.splitlines()):
            if line and not line.startswith((" ", ":")) and line not in used:
                text = f"no page uses the term {line!r}"
                line_number = entry.place.line + 2 + offset
                place = Place(entry.place.file, line_number)
                yield Finding("glossary-unused", place, text)


#: Languages whose blocks nobody takes for Python that runs.
_PLAIN = {"console", "css", "html", "html+jinja", "ini", "json", "rst", "text", "toml"}


def last_name(node: ast.AST | None) -> str:
    """Return the plain name of a name or of an attribute, else nothing."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _directives(pages: Sequence[Page], name: str) -> Iterator[Directive]:
    """Return the directives of a name, but for those that not every reader sees."""
    found = (item for page in pages for item in page.directives)
    return (item for item in found if item.name == name and "only" not in item.around)


def _literal(option: str | None) -> str | None:
    """Return the ``repr()`` of the value that a ``:default:`` writes in Python."""
    if option is None:
        return None
    try:
        return repr(ast.literal_eval(option.strip("`")))
    except (SyntaxError, ValueError):
        return option
