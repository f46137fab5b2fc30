"""Build parpool, install it in every way there is, and see that each brings the whole package.

Run by `tox -e package` in an environment that has the dependencies and `build`. What is easily lost is
parpool.compat, which lies outside of parpool/ in the source.
"""

import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = {"parpool": ROOT / "parpool", "parpool.compat": ROOT / "compat"}
MODULES = {  # every module of ours and the file that it is in
    ".".join((top, *path.relative_to(folder).with_suffix("").parts)).removesuffix(".__init__"): path
    for top, folder in FOLDERS.items()
    for path in sorted(folder.rglob("*.py"))
}
ALSO_IN_SDIST = [
    "LICENSE",
    "README.md",
    "CHANGES.md",
    "pyproject.toml",
    "tox.ini",
    ".ci/run",
    "tests/conftest.py",
]

IMPORT_ALL = """
import importlib, sys
for name in sys.argv[1:]:
    print(importlib.import_module(name).__file__)
"""


def main() -> None:
    """Check each kind of installation in turn."""
    with tempfile.TemporaryDirectory(prefix="check-install-") as folder:
        elsewhere = Path(folder)
        python("-m", "build", "--outdir", elsewhere, ROOT, cwd=elsewhere)  # the wheel is built from the sdist
        (wheel,), (sdist,) = elsewhere.glob("*.whl"), elsewhere.glob("*.tar.gz")

        check_files(wheel, zipfile.ZipFile(wheel).namelist(), ["parpool/py.typed", *in_wheel()])
        names = [name.partition("/")[2] for name in tarfile.open(sdist).getnames()]
        check_files(sdist, names, [*ALSO_IN_SDIST, "parpool/py.typed", *in_sdist()])

        for what in ([wheel], [sdist], ["--editable", ROOT]):
            python("-m", "pip", "install", "-q", "--force-reinstall", "--no-deps", *what, cwd=elsewhere)
            editable = what[0] == "--editable"
            for cwd in (elsewhere, ROOT) if editable else (elsewhere,):
                check_imports(from_checkout=editable, cwd=cwd)
            check_plugin(cwd=elsewhere)
            print(f"{what[0]}: {len(MODULES)} modules import")


def in_wheel() -> list[str]:
    """The modules as the wheel names them."""
    return [
        f"{top.replace('.', '/')}/{path.relative_to(folder).as_posix()}"
        for top, folder in FOLDERS.items()
        for path in folder.rglob("*.py")
    ]


def in_sdist() -> list[str]:
    """The files that are in the sdist because they are in the checkout."""
    folders = ("parpool", "compat", "tests", "examples", "benchmarks", "docs")
    return [path.relative_to(ROOT).as_posix() for top in folders for path in (ROOT / top).rglob("*.py")]


def check_files(archive: Path, names: list[str], wanted: list[str]) -> None:
    """End with a message unless all that is wanted is in an archive."""
    if missing := sorted(set(wanted) - set(names)):
        sys.exit(f"{archive.name} lacks {', '.join(missing)}")


def check_imports(from_checkout: bool, cwd: Path) -> None:
    """End with a message unless every module imports, from the place where it should be."""
    names = [name for name in MODULES if not name.endswith("__main__")]
    files = python("-c", IMPORT_ALL, *names, cwd=cwd).splitlines()
    for name, file in zip(names, files, strict=True):
        if (Path(file) == MODULES[name]) != from_checkout:
            sys.exit(f"{name} was imported from {file}")


def check_plugin(cwd: Path) -> None:
    """End with a message unless pytest finds our plugin without being told."""
    # Without files of pytest's own beside the modules: pip would leave them behind, in a folder that hides what comes next.
    fixtures = python("-B", "-m", "pytest", "--fixtures", "-p", "no:cacheprovider", cwd=cwd)
    if missing := [name for name in ("parpool_pool", "parpool_cluster") if f"\n{name} " not in fixtures]:
        sys.exit(f"pytest does not know {' and '.join(missing)}")


def python(*arguments: object, cwd: Path) -> str:
    """Run this Python in a folder and return what it prints; end with its errors if it fails."""
    done = subprocess.run([sys.executable, *map(str, arguments)], cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, arguments[:4]))} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    main()
