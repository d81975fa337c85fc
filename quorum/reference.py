"""Compares the API reference of a manual with the public names of the code."""

import ast
import builtins
import importlib
import inspect
import re
import textwrap
import types
import typing as t
from collections.abc import Iterator, Sequence

from quorum.manual import Directive, Finding, Page, Place, last_name

_API = {"function", "class", "exception", "data", "autofunction", "autoclass"}
_API |= {"autoexception", "autodata"}


def check_api(
    pages: Sequence[Page], modules: Sequence[str], tests: str
) -> Iterator[Finding]:
    """Compare the API reference with the public names of modules.

    :param pages: The manual.
    :param modules: The modules; their ``__all__`` says what is public.
    :param tests: The text of all tests, which have to name every error.
    :yields: Each disagreement.
    """
    public = _public_names(modules)
    entries: dict[str, Directive] = {}
    for page in pages:
        module = ""
        for entry in page.directives:
            if entry.name in ("module", "currentmodule", "py:module"):
                module = entry.argument
            elif entry.name in _API and "only" not in entry.around:
                name = entry.argument.partition("(")[0].strip()
                name = name if name.startswith(f"{module}.") else f"{module}.{name}"
                entries[name] = entry
    for name, entry in entries.items():
        if name not in public and not entry.planned:
            text = f"the reference has an entry for {name}, which is not public"
            yield Finding("api-private", entry.place, text)
        elif name in public and entry.planned:
            text = f"{name} is marked as planned, but the code has it"
            yield Finding("api-planned", entry.place, text)
        elif name in public:
            yield from _check_signature(name, entry, public[name])
    for name, item in public.items():
        if name not in entries and not inspect.ismodule(item):
            text = f"{name} is public, but the reference has no entry for it"
            yield Finding("api-undocumented", _place_of(item), text)
        if inspect.isfunction(item):
            yield from _check_docstring(name, item, tests)
        elif inspect.isclass(item) and name in entries:
            yield from _check_members(name, item, entries[name])
            for member, value in vars(item).items():
                if inspect.isfunction(value) and not member.startswith("_"):
                    yield from _check_docstring(f"{name}.{member}", value, tests)


def _check_signature(name: str, entry: Directive, item: object) -> Iterator[Finding]:
    if not inspect.isfunction(item) and "(" not in entry.argument:
        return
    real = _real_signature(item)
    try:
        written = _written_signature(entry.argument)
    except SyntaxError:
        written = entry.argument
    if written != real:
        text = f"{name}: the manual says {written}, the code {real}"
        yield Finding("api-signature", entry.place, text)


def _check_members(name: str, item: type, entry: Directive) -> Iterator[Finding]:
    """Find methods and properties of a public class that the manual leaves out."""
    shown = set(re.findall(r"\w+", entry.options.get("members", "")))
    shown |= set(re.findall(r"^\.\. [\w:]+:: (\w+)", entry.body, re.MULTILINE))
    members = [member for member in vars(item) if not member.startswith("_")]
    # The fields of a data class are parameters, which the docstring describes.
    fields = set(getattr(item, "__dataclass_fields__", ()))
    for member in sorted(set(members) - shown - fields):
        text = f"{name}.{member} is public, but the entry of its class leaves it out"
        yield Finding("api-undocumented", entry.place, text)
    for member in sorted(shown - set(members)):
        if member not in inspect.get_annotations(item) and not _sets(item, member):
            text = f"the entry of {name} shows {member}, which the class has not"
            yield Finding("api-private", entry.place, text)


def _check_docstring(
    name: str, item: types.FunctionType, tests: str
) -> Iterator[Finding]:
    """Compare the fields of a docstring with the function, and with the tests."""
    place = _place_of(item)
    fields = re.findall(r"^:(\w+) ?([^:]*):", inspect.getdoc(item) or "", re.MULTILINE)
    written = [word.lstrip("\\*") for field, word in fields if field == "param"]
    signature = inspect.signature(item)
    real = [word for word in signature.parameters if word != "self"]
    if written != real:
        text = f"{name}: its docstring has the parameters {written}, the code {real}"
        yield Finding("api-params", place, text)
    # A context manager returns what its 'with' block is about.
    manages = inspect.isgeneratorfunction(inspect.unwrap(item))
    nothing = manages or signature.return_annotation in (None, t.NoReturn)
    if any(field == "returns" for field, _ in fields) is nothing:
        text = f"{name}: its docstring and its code differ in whether it returns"
        yield Finding("api-returns", place, text)
    raises = [word for field, word in fields if field == "raises"]
    for error in raises:
        if _find_error(item, error) is None:
            text = f"{name}: ':raises {error}:' names no exception"
            yield Finding("api-raises", place, text)
        elif not re.search(rf"raises\([^)]*\b{error}\b", tests):
            text = f"{name}: no test names {error}, which it is said to raise"
            yield Finding("api-raises", place, text)
    for error in sorted(_errors_of(item) - set(raises)):
        text = f"{name} raises {error}, which its docstring does not say"
        yield Finding("api-raises", place, text)


class _Raises(ast.NodeVisitor):
    """Collects the package's own errors that leave a function, by their names.

    It follows calls of functions that are known by a plain name, and takes the word
    of their docstrings. What is caught around a call does not count.
    """

    def __init__(self, function: types.FunctionType) -> None:
        self.function = function
        self.package = function.__module__.partition(".")[0]
        self.found: set[str] = set()
        self.caught: list[type] = []

    def visit_Try(self, node: ast.Try) -> None:
        types_of = [name for handler in node.handlers for name in _names_in(handler)]
        errors = [_find_error(self.function, name) for name in types_of]
        before, self.caught = self.caught, [*self.caught, *filter(None, errors)]
        for statement in node.body:
            self.visit(statement)
        self.caught = before
        for part in (node.handlers, node.orelse, node.finalbody):
            for rest in part:
                self.visit(rest)

    def visit_Raise(self, node: ast.Raise) -> None:
        raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
        self.note(last_name(raised))
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Name):
            callee = self.function.__globals__.get(node.func.id)
            if inspect.isfunction(callee) and self.owns(callee):
                for name in _errors_said(callee):
                    self.note(name)
        self.generic_visit(node)

    def owns(self, item: t.Any) -> bool:
        return str(item.__module__).partition(".")[0] == self.package

    def note(self, name: str) -> None:
        error = _find_error(self.function, name)
        caught = error and any(issubclass(error, known) for known in self.caught)
        if error is not None and self.owns(error) and not caught:
            self.found.add(name)


def _errors_of(function: types.FunctionType) -> set[str]:
    """Return the package's errors that a function raises, itself or by its callees."""
    visitor = _Raises(function)
    source = inspect.getsource(inspect.unwrap(function))
    visitor.visit(ast.parse(textwrap.dedent(source)))
    return visitor.found


def _errors_said(function: types.FunctionType) -> set[str]:
    """Return the errors of a callee: what its docstring says, or its code."""
    said = re.findall(r"^:raises (\w+):", inspect.getdoc(function) or "", re.MULTILINE)
    private = function.__name__.startswith("_")
    return set(said) | (_errors_of(function) if private else set())


def _public_names(modules: Sequence[str]) -> dict[str, t.Any]:
    """Return the public objects of modules by their full names."""
    return {
        f"{name}.{public}": getattr(module, public)
        for name in modules
        for module in [importlib.import_module(name)]
        for public in module.__all__
    }


def _names_in(handler: ast.ExceptHandler) -> list[str]:
    if handler.type is None:
        return ["BaseException"]
    parts = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return [last_name(part) for part in parts]


def _find_error(function: types.FunctionType, name: str) -> type | None:
    package = importlib.import_module(function.__module__.partition(".")[0])
    places = (function.__globals__.get, vars(builtins).get)
    candidates = [place(name) for place in places] + [getattr(package, name, None)]
    for found in candidates:
        if isinstance(found, type) and issubclass(found, BaseException):
            return found
    return None


def _place_of(item: t.Any) -> Place:
    item = inspect.unwrap(item)
    try:
        return Place(inspect.getsourcefile(item) or "", inspect.getsourcelines(item)[1])
    except (OSError, TypeError):
        return Place("", 0)


def _sets(item: type, attribute: str) -> bool:
    """Return whether a method of a class assigns an attribute to its instance."""
    source = "".join(
        inspect.getsource(base) for base in item.__mro__ if _place_of(base).file
    )
    return re.search(rf"\bself\.{attribute}\b.* = ", source) is not None


def _written_signature(argument: str) -> str:
    """Return a signature of the manual, in the form of :func:`_real_signature`."""
    _, bracket, rest = argument.partition("(")
    source = f"def f({rest if bracket else ')'}: pass"
    function = t.cast(ast.FunctionDef, ast.parse(source).body[0])
    returns = _plain(ast.unparse(function.returns)) if function.returns else ""
    return f"({_arguments(source)})" + (f" -> {returns}" if returns else "")


def _real_signature(item: t.Any) -> str:
    """Return a signature without types, but for the one that a function returns."""
    signature = inspect.signature(item)
    empty = inspect.Signature.empty
    bare = [item.replace(annotation=empty) for item in signature.parameters.values()]
    annotation = signature.return_annotation
    text = str(signature.replace(parameters=bare, return_annotation=empty))
    text = _arguments(f"def f{text}: pass")
    if annotation is empty or not inspect.isfunction(item):
        return f"({text})"
    shown = annotation
    if not isinstance(shown, str):
        shown = inspect.formatannotation(annotation).replace("NoneType", "None")
    return f"({text}) -> {_plain(shown)}"


def _plain(annotation: str) -> str:
    """Return a type without the modules of its parts."""
    return re.sub(r"(?:\w+\.)+|~", "", annotation)


def _arguments(source: str) -> str:
    function = t.cast(ast.FunctionDef, ast.parse(source).body[0])
    return ast.unparse(function.args)
