"""The container, built and run without a registry and without a daemon: buildah, based on the tree of the boot tests.

It is run like any container in all that matters: with a read-only root, its own processes, and the user, folder, environment and
command from the image. The network is this machine's.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.boot.tree import NotHereError
from tests.packages.built import ROOT

BUILD_TIMEOUT_S = 600
# How this machine reaches a package index.
HANDED_IN = ("/etc/ssl/certs", "/etc/pip.conf")
ENTER = 'mount --rbind -o ro "$1" "$1" && mount --make-rprivate "$1" && mount -t proc proc "$1/proc" && shift && exec "$@"'


@dataclass(frozen=True, slots=True)
class Container:
    """root: its file tree. config: how the image says it is run."""

    root: Path
    config: dict[str, Any]

    def command(self, *arguments: str) -> list[str]:
        """Runs it with these arguments instead of the image's."""
        return self.inside(*self.config["Entrypoint"], *(arguments or self.config["Cmd"]))

    def inside(self, *command: str) -> list[str]:
        own = ("/usr/bin/unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", ENTER, "sh", str(self.root))
        folder = f"--chdir={self.config['WorkingDir']}"
        return [*own, "/usr/sbin/chroot", f"--userspec={self.config['User']}", str(self.root), "/usr/bin/env", folder, *command]

    def environment(self, **settings: str) -> dict[str, str]:
        return dict(entry.split("=", 1) for entry in self.config["Env"]) | settings


@contextmanager
def container(work: Path, tree: Path, wheel: Path) -> Iterator[Container]:
    """work: a folder for the images, which is empty afterwards. Raises NotHereError."""
    if shutil.which("buildah") is None:
        raise NotHereError("there is no buildah here")
    context = work / "context"
    (context / "dist").mkdir(parents=True)
    shutil.copy(wheel, context / "dist")
    shutil.copytree(ROOT / ".requirements", context / ".requirements")
    shutil.copytree(ROOT / "deploy", context / "deploy")
    try:
        empty = _buildah(work, "from", "scratch")
        _buildah(work, "add", "--quiet", empty, str(tree), "/")
        _buildah(work, "commit", "--quiet", "--rm", empty, "base")
        handed_in = [f"--volume={place}:{place}:ro" for place in HANDED_IN if Path(place).exists()]
        how = ("--quiet", "--format=docker", "--pull-never", "--build-arg=BASE=localhost/base", "--tag=crm-sync", *handed_in)
        _buildah(work, "build", *how, f"--file={context}/deploy/Containerfile", str(context))
        made = _buildah(work, "from", "--pull-never", "localhost/crm-sync")
        described = json.loads(_buildah(work, "inspect", "--type=image", "localhost/crm-sync"))
        mounted = Path(_buildah(work, "mount", made))
        yield Container(mounted, described["Docker"]["config"])
        _buildah(work, "umount", made)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _buildah(work: Path, *arguments: str) -> str:
    storage = (f"--root={work}/storage", f"--runroot={work}/run", "--storage-driver=vfs")
    done = subprocess.run(
        ["buildah", *storage, *arguments], env={**os.environ, "BUILDAH_ISOLATION": "chroot"},
        capture_output=True, text=True, check=False, timeout=BUILD_TIMEOUT_S,
    )  # fmt: skip
    assert done.returncode == 0, f"buildah {' '.join(arguments)}: {(done.stdout + done.stderr)[-3000:]}"
    return done.stdout.strip()
