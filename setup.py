"""How parpool is packaged. Tools are configured in pyproject.toml, test environments in tox.ini."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent

# Read, not imported: a build has none of the dependencies.
VERSION = re.search(r'^__version__ = "(.+)"$', (HERE / "parpool/__init__.py").read_text("utf-8"), re.M)
assert VERSION, "parpool/__init__.py has no __version__"

EXTRAS = {
    "numpy": ["numpy>=1.23", "threadpoolctl>=3.1"],
    "dill": ["dill>=0.3.6"],
    "ipython": ["ipython>=8"],
    "joblib": ["joblib>=1.4", "threadpoolctl>=3.1"],
    "db": ["sqlalchemy>=2"],
    "postgresql": ["sqlalchemy>=2", "psycopg[binary]>=3.1"],
}

setup(
    name="parpool",
    version=VERSION[1],
    description="A drop-in for multiprocessing.Pool over a ZeroMQ controller and engines",
    long_description=(HERE / "README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    author="the parpool developers",
    license="BSD-3-Clause",
    license_files=["LICENSE"],
    # compat/ stands beside parpool/ because it uses parpool as any user does; it is installed as parpool.compat.
    packages=[
        *find_packages(include=["parpool", "parpool.*"]),
        "parpool.compat",
        *(f"parpool.compat.{name}" for name in find_packages("compat")),
    ],
    package_dir={"parpool.compat": "compat"},
    package_data={"parpool": ["py.typed"]},
    python_requires=">=3.10",
    install_requires=[
        "pyzmq>=25",
        "msgspec>=0.18",
        "cloudpickle>=3",
        "tqdm>=4.60",
        "click>=8.1",
        "rich>=13",
        "platformdirs>=3",
    ],
    entry_points={
        "console_scripts": ["parpool = parpool.cli:main"],
        # By the module's name: so `-p parpool.testing`, where it is loaded besides, means the same plugin.
        "pytest11": ["parpool.testing = parpool.testing"],
    },
    extras_require={**EXTRAS, "all": sorted({each for extra in EXTRAS.values() for each in extra})},
    zip_safe=False,  # a zipped package's py.typed is not seen by type checkers
    keywords="multiprocessing pool parallel distributed zeromq cluster",
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: System :: Distributed Computing",
        "Typing :: Typed",
    ],
)
