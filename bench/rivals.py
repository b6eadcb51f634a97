"""What people use today: scp, rsync and tar over ssh, with an sshd of our own and throw-away keys.

rsync and tar get the cipher that is fastest with AES in the processor; scp is as people run it.
"""

import contextlib
import os
import pwd
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench import costs
from bench.network import LOOPBACK, Place, Places

SCP, RSYNC, TAR = "scp -r", "rsync -a -W", "tar | ssh"
ALL = (SCP, RSYNC, TAR)
_FAST = "aes128-gcm@openssh.com"
_START_SECONDS = 20.0
_SFTP_SERVERS = ("/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server")
_PRIVSEP = Path("/run/sshd")
_PROGRAMS = {
    "ssh": "openssh-client",
    "scp": "openssh-client",
    "ssh-keygen": "openssh-client",
    "sshd": "openssh-server",
    "rsync": "rsync",
    "tar": "tar",
}


def missing() -> list[str]:
    """Return the Debian packages of the programs that are not here."""
    return sorted({package for name, package in _PROGRAMS.items() if _find(name) is None})


@dataclass(frozen=True, slots=True)
class Rivals:
    """A running sshd and how to reach it."""

    pid: int
    place: Place
    options: tuple[str, ...]
    target: str
    port: int

    def pipeline(self, tool: str, source: Path, folder: Path) -> list[list[str]]:
        """Return the commands that copy a source into an existing folder, joined by pipes."""
        ssh = ["ssh", *self.options, "-p", str(self.port)]
        if tool == SCP:
            to = f"{self.target}:{folder}/"
            return [["scp", "-r", "-q", *self.options, "-P", str(self.port), str(source), to]]
        if tool == RSYNC:
            shell = " ".join([*ssh, "-c", _FAST])
            return [["rsync", "-a", "-W", "-e", shell, str(source), f"{self.target}:{folder}/"]]
        return [
            ["tar", "-C", str(source.parent), "-cf", "-", source.name],
            [*ssh, "-c", _FAST, self.target, f"tar -C {folder} -xf -"],
        ]

    def start(self, tool: str, source: Path, folder: Path) -> "list[subprocess.Popen[bytes]]":
        """Start copying; the last process ends when all has arrived."""
        started: list[subprocess.Popen[bytes]] = []
        commands = self.pipeline(tool, source, folder)
        for command in commands:
            last = len(started) + 1 == len(commands)
            process = subprocess.Popen(
                [*self.place.inside, *command],
                stdin=started[-1].stdout if started else subprocess.DEVNULL,
                stdout=subprocess.DEVNULL if last else subprocess.PIPE,
            )
            if started and (pipe := started[-1].stdout) is not None:
                pipe.close()  # the next one holds it now
            started.append(process)
        return started


@contextlib.contextmanager
def rivals(folder: Path, places: Places = LOOPBACK) -> Iterator[Rivals]:
    """Start an sshd at the second place, with keys below a folder; end it after the block.

    Raises:
        RuntimeError: It does not start.
    """
    folder.mkdir(parents=True, mode=0o700)
    client, server = places
    port = server.free_port()
    for name in ("host", "user"):
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(folder / name)]
        subprocess.run(words, check=True)
    public = (folder / "host.pub").read_text()
    (folder / "known_hosts").write_text(f"[{server.address}]:{port} {public}")
    made_privsep = os.geteuid() == 0 and not _PRIVSEP.exists()
    if made_privsep:
        _PRIVSEP.mkdir(mode=0o755)
    with (folder / "log").open("wb") as log:
        sshd = subprocess.Popen(
            [*server.inside, *_server_command(folder, server, port)],
            stdin=subprocess.DEVNULL,
            stderr=log,
        )
    options = _client_options(folder)
    it = Rivals(sshd.pid, client, options, f"{_account()}@{server.address}", port)
    try:
        _wait_ready(it, sshd, folder / "log")
        yield it
    finally:
        sshd.terminate()
        sshd.wait()
        if made_privsep:
            with contextlib.suppress(OSError):
                _PRIVSEP.rmdir()
        shutil.rmtree(folder, ignore_errors=True)


def _server_command(folder: Path, server: Place, port: int) -> list[str]:
    """Return the command of an sshd that takes one key, for this account only."""
    sftp = next((path for path in _SFTP_SERVERS if os.path.exists(path)), "internal-sftp")
    settings = {
        "Port": port,
        "ListenAddress": server.address,
        "HostKey": folder / "host",
        "AuthorizedKeysFile": folder / "user.pub",
        "AllowUsers": _account(),
        "PidFile": "none",
        "UsePAM": "no",
        "UseDNS": "no",
        "StrictModes": "no",  # the folder of a temporary directory has the wrong owner for it
        "PasswordAuthentication": "no",
        "PermitRootLogin": "prohibit-password",
        "MaxStartups": "100",
        "Subsystem": f"sftp {sftp}",
        "LogLevel": "ERROR",
    }
    words = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
    return [_find("sshd") or "sshd", "-D", "-e", "-f", "/dev/null", *words]


def _client_options(folder: Path) -> tuple[str, ...]:
    settings = {
        "IdentityFile": folder / "user",
        "IdentitiesOnly": "yes",
        "UserKnownHostsFile": folder / "known_hosts",
        "StrictHostKeyChecking": "yes",
        "BatchMode": "yes",
        "Compression": "no",
        "ControlPath": "none",
        "LogLevel": "ERROR",
    }
    words = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
    return ("-F", "none", *words)


def _wait_ready(it: Rivals, sshd: "subprocess.Popen[bytes]", log: Path) -> None:
    command = [*it.place.inside, "ssh", *it.options, "-p", str(it.port), it.target, "true"]
    deadline = time.monotonic() + _START_SECONDS
    while True:
        tried = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        if tried.returncode == 0:
            costs.wait_childless(it.pid)
            return
        if sshd.poll() is not None or time.monotonic() > deadline:
            said = log.read_text(errors="replace") + tried.stderr.decode(errors="replace")
            raise RuntimeError(f"the sshd of the benchmark does not take us: {said.strip()}")
        time.sleep(0.05)


def _find(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")


def _account() -> str:
    return pwd.getpwuid(os.geteuid()).pw_name
