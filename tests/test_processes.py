import os
import pathlib
import re
import signal
import subprocess
import textwrap
import time

import pytest

from tests.processes import PATIENCE, clean_environment, running

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")

PROGRAM = """
    import os, pathlib, sys
    from quorum.processes import supervise

    def serve(stop):
        os.write(1, f"begun {os.getpid()}\\n".encode())
        stop.wait()
        if sys.argv[1] == "fails":
            raise ValueError("on purpose")
        os.write(1, f"ended {os.getpid()}\\n".encode())

    supervise(2, serve)
    print("all ended", flush=True)
"""


def read(process: "subprocess.Popen[str]", words: int) -> list[str]:
    assert process.stdout
    return [process.stdout.readline().strip() for _ in range(words)]


def pids(lines: list[str]) -> list[int]:
    return [int(found) for line in lines for found in re.findall(r"begun (\d+)", line)]


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    (tmp_path / "program.py").write_text(textwrap.dedent(PROGRAM))
    return tmp_path


def test_a_process_that_dies_is_replaced_until_all_are_to_stop(
    folder: pathlib.Path,
) -> None:
    with running("program.py", "", cwd=folder, env=clean_environment()) as process:
        first, second = pids(read(process, 2))

        os.kill(first, signal.SIGKILL)
        told, begun = read(process, 2)
        (third,) = pids([begun])
        process.terminate()
        output, _ = process.communicate(timeout=PATIENCE)

    assert told == f"Worker {first} died (-9). It is replaced."
    ended = {f"ended {second}", f"ended {third}", "all ended"}
    assert set(output.split("\n")) - {""} == ended
    assert output.endswith("all ended\n")
    assert process.returncode == 0


def test_processes_stop_when_the_one_that_keeps_them_is_killed(
    folder: pathlib.Path,
) -> None:
    with running("program.py", "", cwd=folder, env=clean_environment()) as process:
        children = pids(read(process, 2))

        process.kill()

        assert set(read(process, 2)) == {f"ended {child}" for child in children}


def test_a_process_that_fails_says_so(folder: pathlib.Path) -> None:
    with running("program.py", "fails", cwd=folder, env=clean_environment()) as process:
        read(process, 2)
        time.sleep(0.1)
        process.terminate()
        output, _ = process.communicate(timeout=PATIENCE)

    assert output.count("ValueError: on purpose") == 2
    assert output.endswith("all ended\n")
