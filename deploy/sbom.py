"""Writes the SBOM of an installation of crm-sync, as CycloneDX: python deploy/sbom.py INTERPRETER FILE. Part of `make dist`.

The tool looks for the version in pyproject.toml, where it is not, so it is added to the result.
"""

import json
import subprocess
import sys
from pathlib import Path

from crm_sync import __version__

ROOT = Path(__file__).parents[1]
NAME = "crm-sync-worker"


def main(interpreter: str, file: str) -> None:
    tool = [sys.executable, "-m", "cyclonedx_py", "environment", "--pyproject", ROOT / "pyproject.toml"]
    subprocess.run([*tool, "--mc-type", "application", "--output-reproducible", "--output-file", file, interpreter], check=True)
    path = Path(file)
    described = json.loads(path.read_text(encoding="utf-8"))
    described["metadata"]["component"] |= {"version": __version__, "purl": f"pkg:pypi/{NAME}@{__version__}"}
    path.write_text(json.dumps(described, indent=2, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
