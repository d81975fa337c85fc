"""Does what pages of the manual say, as somebody would who has just found them.

* A block with a file's name as its caption is written to that file.
* What follows ``$`` in a console block is typed into a terminal; a caption names
  another terminal than the first. What is shown below a command is what it prints;
  three dots stand for anything. A command that is shown to end with an error fails,
  and every other one succeeds.
* The last command of a block of the class ``serves`` goes on. The next command in
  its terminal ends it first, as Ctrl-C does.
* A console block without a command shows what its terminal shows by now.
* Three dots in a command stand for what a terminal has shown in that place.
"""

import contextlib
import difflib
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping

from quorum.manual import Directive, Page
from tests.processes import PATIENCE

ROOT = pathlib.Path(__file__).parent.parent.parent
SOURCE = ROOT / "doc" / "source"

#: Longest wait for a command that has to end, in seconds.
_LONGEST = 180.0

#: Runs a command, and remembers where it has left its shell.
_SHELL = 'eval "$1"; status=$?; { pwd; env -0; } >"$2"; exit $status'


class WalkError(AssertionError):
    """Raised when a page says what does not hold."""


class Terminal:
    """A shell: its folder and its environment outlive a command."""

    def __init__(self, folder: pathlib.Path, env: Mapping[str, str]) -> None:
        self.folder = folder
        self.env = dict(env)
        self.process: subprocess.Popen[bytes] | None = None
        self._files = folder / f".terminal-{time.time_ns()}"
        self._files.mkdir()
        self._output = self._files / "output"

    def start(self, command: str) -> None:
        self.end()
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                ["bash", "-c", _SHELL, "bash", command, self._files / "state"],
                cwd=self.folder,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # Who runs the tests in the background has Ctrl-C ignored.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )

    def read(self) -> str:
        """Return what the last command has printed, without colours."""
        text = self._output.read_text("utf-8", "replace")
        return re.sub(r"\x1b\[[0-9;]*m", "", text)

    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def finish(self) -> int:
        """Wait for the command, and take over what it did to the shell."""
        assert self.process is not None
        status = self.process.wait(_LONGEST)
        folder, _, variables = (self._files / "state").read_text().partition("\n")
        self.folder = pathlib.Path(folder)
        pairs = (pair.partition("=") for pair in variables.split("\0") if pair)
        self.env = {name: value for name, _, value in pairs}
        return status

    def end(self) -> None:
        """Do what Ctrl-C does."""
        if not self.is_running():
            return
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGINT)
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired as error:
            os.killpg(self.process.pid, signal.SIGABRT)  # Python shows where it hangs
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(PATIENCE)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            raise AssertionError(f"it does not end: {self.read()}") from error
        assert "Traceback" not in self.read(), self.read()


class Walker:
    """Somebody with a folder, and as many terminals as a page wants.

    :param folder: The folder. What is installed goes into it.
    :param env: The environment of each terminal.
    :param names: What the pages call something, and what it is called here: ports
        that are free, for instance.
    :param patience: Longest wait for what a server has to show, in seconds.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        env: Mapping[str, str],
        names: Mapping[str, str],
        patience: float = PATIENCE,
    ) -> None:
        self.folder = folder
        self.env = env
        self.names = names
        self.patience = patience
        self.terminals: dict[str, Terminal] = {}
        self.shown = ""

    def walk(
        self, page: Page, wanted: Callable[[Directive], bool] = lambda block: True
    ) -> None:
        """Do what a page says.

        :param page: The page.
        :param wanted: Which of its console blocks to type.
        :raises WalkError: With the place of the first block that does not hold.
        """
        for block in page.directives:
            try:
                if block.argument == "console":
                    if wanted(block):
                        self.follow(block)
                elif "caption" in block.options:
                    self._write(block)
            except (AssertionError, OSError, subprocess.TimeoutExpired) as error:
                raise WalkError(
                    f"{block.place.file}:{block.place.line}: {error}"
                ) from None

    def close(self) -> None:
        """End what still runs."""
        with contextlib.ExitStack() as stack:
            for terminal in self.terminals.values():
                stack.callback(terminal.end)

    def terminal(self, name: str = "") -> Terminal:
        if name not in self.terminals:
            self.terminals[name] = Terminal(self.folder, self.env)
        return self.terminals[name]

    def run(self, command: str, terminal: Terminal) -> int:
        """Type a command, and wait for its end."""
        self._start(command, terminal)
        status = terminal.finish()
        self.shown += self._told(terminal.read())
        return status

    def _start(self, command: str, terminal: Terminal) -> None:
        """Begin a command; one of pip's only in a virtual environment of the folder."""
        if re.match(r"(\w+=\S* )*pip\b", command):
            path = shutil.which("pip", path=terminal.env["PATH"]) or "nowhere"
            assert self.folder in pathlib.Path(path).parents, f"pip is {path}"
        terminal.start(self._here(self._fill(command)))

    def _write(self, block: Directive) -> None:
        path = self.terminal().folder / block.options["caption"]
        text = read_block(block)
        if path.exists():
            changed = list(_changed_lines(self._told(path.read_text()), text))
            marked = _lines_of(block.options.get("emphasize-lines", ""))
            assert marked == changed, f"lines {changed} are new, marked are {marked}"
        path.parent.mkdir(exist_ok=True)
        path.write_text(self._here(text))

    def follow(self, block: Directive) -> None:
        """Type the commands of a console block."""
        kinds = block.options.get("class", "").split()
        assert "not-run" not in kinds, "it is not run"
        terminal = self.terminal(block.options.get("caption", ""))
        commands = list(_commands(block.body))
        for number, (command, told) in enumerate(commands, 1):
            if not command:
                assert terminal.is_running(), "nothing runs in that terminal"
                self._expect(told, terminal, lambda: False)
            elif number == len(commands) and "serves" in kinds:
                self._start(command, terminal)
                self._expect(told, terminal, lambda: not terminal.is_running())
                assert terminal.is_running(), (
                    f"{command!r} has ended: {terminal.read()}"
                )
            else:
                self._run(command, told, terminal)

    def _run(self, command: str, told: str, terminal: Terminal) -> None:
        end = time.monotonic() + self.patience
        while True:
            status = self.run(command, terminal)
            shown = self._told(terminal.read())
            good = (status != 0) == ("Error" in told)
            if good and (not told or fits(shown, told)):
                return
            # Who asks for a page asks again when a task may be done.
            asks = re.fullmatch(r"curl (-b \w+ )?\S+", command)
            if not asks or time.monotonic() > end:
                break
            time.sleep(0.1)
        raise AssertionError(f"$ {command}\nended with {status}, and showed:\n{shown}")

    def _expect(
        self, told: str, terminal: Terminal, is_over: Callable[[], bool]
    ) -> None:
        """Wait until a terminal shows something."""
        end = time.monotonic() + self.patience
        while True:
            over = is_over() or time.monotonic() > end
            shown = self._told(terminal.read())
            if fits(shown, told):
                self.shown += shown
                return
            assert not over, f"the terminal shows:\n{shown}"
            time.sleep(0.05)

    def _fill(self, command: str) -> str:
        """Put in what was shown where a command has three dots."""
        for word in shlex.split(command):
            if "..." in word:
                path = re.sub(r"^http://[^/]+", "", word)
                pattern = re.escape(path).replace(r"\.\.\.", r"([\w-]+)")
                found = re.findall(pattern, self.shown)
                assert found, f"nothing was shown that {word!r} could be"
                command = command.replace("...", found[-1])
        return command

    def _here(self, text: str) -> str:
        return _replace(text, self.names)

    def _told(self, text: str) -> str:
        return _replace(text, {here: told for told, here in self.names.items()})


def read_block(block: Directive) -> str:
    """Return the file that a block shows."""
    if block.name == "literalinclude":
        return (SOURCE / block.argument).read_text()
    return f"{block.body}\n"


def fits(shown: str, told: str) -> bool:
    """Return whether an output is what a page tells of it.

    How wide a column is does not count: it may hang on what another one holds.
    """
    pattern = "".join(
        r"(?:.*\n)*?" if line.strip() == "..." else _pattern_of(line)
        for line in told.splitlines()
    )
    return re.fullmatch(pattern, shown.strip("\n") + "\n") is not None


def _pattern_of(line: str) -> str:
    pattern = re.escape(line.rstrip()).replace(r"\.\.\.", ".*")
    return re.sub(r"(\\ ){2,}", "  +", pattern) + r"[ \t]*\n"


def find_tools(folder: pathlib.Path) -> dict[str, str]:
    """Return an environment whose Python is that of a scratch virtual environment.

    Where pip looks for packages stays as it is. Nothing else of this process's own
    is in it, the environment that runs the tests least of all.
    """
    home = folder / "python"
    subprocess.run([sys.executable, "-m", "venv", home], check=True)
    (folder / ".curlrc").write_text("no-progress-meter\n")  # as in a terminal
    names = re.compile("HOME$|LANG$|PIP_|REQUESTS_|SSL_|.*_proxy$", re.IGNORECASE)
    kept = {name: value for name, value in os.environ.items() if names.match(name)}
    return {
        **kept,
        "PATH": f"{home}/bin:/usr/local/bin:/usr/bin:/bin",
        "CURL_HOME": str(folder),
        "COLUMNS": "80",
        "TERM": "dumb",
        "PYTHONUNBUFFERED": "1",  # as in a terminal
        "PYTHONFAULTHANDLER": "1",
        "PIP_REQUIRE_VIRTUALENV": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }


def build_wheel(folder: pathlib.Path, env: Mapping[str, str]) -> dict[str, str]:
    """Build quorum, and return what makes pip take that and no other."""
    source = copy_source(folder / "source")
    init = source / "quorum" / "__init__.py"
    version = re.findall('^__version__ = "(.+)"', init.read_text(), re.MULTILINE)[0]
    own = f"{version}+walk"
    init.write_text(init.read_text().replace(f'"{version}"', f'"{own}"'))
    wheels = folder / "wheels"
    subprocess.run(
        ["pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", wheels, source],
        env=dict(env),
        check=True,
    )
    constraints = folder / "constraints.txt"
    constraints.write_text(f"quorum-flask=={own}\n")
    links = f"{env.get('PIP_FIND_LINKS', '')} {wheels}"
    return {**env, "PIP_FIND_LINKS": links, "PIP_CONSTRAINT": str(constraints)}


def copy_source(folder: pathlib.Path) -> pathlib.Path:
    """Copy what somebody needs who installs quorum from its source."""
    skip = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("quorum", "examples"):
        shutil.copytree(ROOT / name, folder / name, ignore=skip)
    for name in ("LICENSE", "MANIFEST.in", "README.rst", "pyproject.toml", "setup.cfg"):
        shutil.copy(ROOT / name, folder)
    return folder


def _commands(body: str) -> Iterator[tuple[str, str]]:
    """Yield each command of a console block, and what is shown below it."""
    before, *parts = re.split(r"^\$ ", body, flags=re.MULTILINE)
    if before:
        yield "", before.rstrip()
    for part in parts:
        command, _, told = part.partition("\n")
        yield command, told.rstrip()


def _changed_lines(old: str, new: str) -> Iterator[int]:
    matcher = difflib.SequenceMatcher(None, old.splitlines(), new.splitlines(), False)
    for kind, _, _, start, end in matcher.get_opcodes():
        if kind != "equal":
            yield from range(start + 1, end + 1)


def _lines_of(option: str) -> list[int]:
    """Return the numbers that an option such as '1,3-5' names."""
    numbers: list[int] = []
    for part in filter(None, option.split(",")):
        first, _, last = part.partition("-")
        numbers += range(int(first), int(last or first) + 1)
    return numbers


def _replace(text: str, names: Mapping[str, str]) -> str:
    pattern = "|".join(rf"\b{re.escape(name)}\b" for name in names)
    return re.sub(pattern, lambda found: names[found[0]], text) if names else text
