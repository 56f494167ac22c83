"""edeposit.amqp: Python functions as Unix daemons behind RabbitMQ."""

import re
from glob import glob
from pathlib import Path

from setuptools import find_namespace_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(
    r'^__version__ = "(.+)"', (HERE / "src/edeposit/amqp/__init__.py").read_text("utf-8"), re.M
)[1]
READ_ME = (
    (HERE / "README.rst").read_text("utf-8") + "\n" + (HERE / "CHANGES.rst").read_text("utf-8")
)

# aleph/deadlines.py gives httpx2 a network backend; the tests of dripping servers say when that
# changes.
ALEPH = ["httpx2>=2.16,<3", "lxml>=4.9", "pymarc>=5", "python-stdnum>=1.19"]
EXTRAS = {
    "aleph": ALEPH,
    # ClamAV is spoken to by our own few lines. pybase64 decodes ten times as fast as binascii.
    "antivirus": ["olefile>=0.46", "pybase64>=1.3"],
    # Debian's calibre and bubblewrap do the work.
    "calibre": ["pybase64>=1.3"],
    # The books in its messages are the catalogue's. libpass is the maintained passlib.
    "ftp": [*ALEPH, "libpass>=1.9", "pyyaml>=6", "watchdog>=3"],
    "harvester": [
        *ALEPH,  # for the filter that asks the catalogue
        "charset-normalizer>=3",
        "cssselect>=1.2",
        # site/download.py gives it a network backend; tests/harvester/test_fetcher.py says when
        # that changes.
        "httpx2>=2.16,<3",
        "idna>=3.7",
        "lxml>=4.9",
        "nh3>=0.2.18",
        "protego>=0.3",
        "python-stdnum>=1.19",
        "pyyaml>=6",
        "rapidfuzz>=3",
        "rich>=13",
    ],
    # edeposit.amqp.testing: pytest fixtures, and certificates for TLS tests.
    "testing": ["pytest>=7", "cryptography>=41"],
}
TESTING = EXTRAS["testing"]
EXTRAS["all"] = sorted({need for needs in EXTRAS.values() for need in needs} - set(TESTING))
DEVELOPMENT = [
    "argparse-manpage",
    "beautifulsoup4",
    "build",
    "clamd",
    "furo",
    "hypothesis",
    "import-linter",
    "lxml-stubs",
    "mypy",
    "playwright",
    "pypdf",
    "pytest-cov",
    "pytest-timeout",
    "pytest-xdist",
    "requests",
    "ruff",
    "shtab",
    "sphinx",
    "twine",
    "types-PyYAML",
    "types-olefile",
    "types-passlib",
    "types-setuptools",
]

setup(
    name="edeposit.amqp",
    version=VERSION,
    description="Put Python functions behind RabbitMQ as Unix daemons that lose no message",
    long_description=READ_ME,
    long_description_content_type="text/x-rst",
    author="the edeposit.amqp authors",
    license_expression="MIT",
    license_files=["LICENSE"],
    project_urls={
        "Source": "https://github.com/edeposit/edeposit.amqp",
        "Issues": "https://github.com/edeposit/edeposit.amqp/issues",
        "Changes": "https://github.com/edeposit/edeposit.amqp/blob/main/CHANGES.rst",
    },
    python_requires=">=3.11",
    package_dir={"": "src"},
    packages=find_namespace_packages("src", include=["edeposit.*"]),
    package_data={
        "edeposit.amqp": ["py.typed"],
        "edeposit.amqp.aleph.simulator": ["*.csv", "*.xml"],
        "edeposit.amqp.harvester.source": ["shipped/*.yaml", "shipped/samples/*"],
    },
    # In share/ of the environment: what an operator copies, or `make install` uses.
    data_files=[
        (f"share/edeposit-amqp/{directory}", sorted(glob(f"{directory}/*", root_dir=HERE)))
        for directory in ("systemd", "manual/man1", "manual/bash", "manual/zsh")
    ],
    scripts=sorted(str(path.relative_to(HERE)) for path in HERE.glob("bin/*.py")),
    install_requires=[
        # engine/fastconnection.py overrides two private methods;
        # tests/engine/test_fastconnection.py says when they change.
        "pika>=1.3,<1.5",
        "python-daemon>=3",
        "msgspec>=0.18",
    ],
    extras_require={**EXTRAS, "development": [*DEVELOPMENT, *TESTING, *EXTRAS["all"]]},
    entry_points={
        "edeposit.amqp.services": [
            "aleph = edeposit.amqp.aleph",
            "antivirus = edeposit.amqp.antivirus",
            "calibre = edeposit.amqp.calibre",
            "ftp = edeposit.amqp.ftp",
            "harvester = edeposit.amqp.harvester",
        ]
    },
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: No Input/Output (Daemon)",
        "Intended Audience :: Developers",
        "Intended Audience :: System Administrators",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: System :: Distributed Computing",
        "Typing :: Typed",
    ],
)
