"""Maps the top-level packages of the checkout below ``neverstale/_packages`` of the wheel.

``neverstale`` itself, with the client that apps import, stays where it is.
"""

from setuptools import find_packages, setup

PREFIX = "neverstale._packages"
SOURCES = ("shared", "listener", "gateway", "operations", "deploy")

setup(
    packages=[
        *find_packages(include=["neverstale", "neverstale.*"]),
        *(
            f"{PREFIX}.{name}"
            for source in SOURCES
            for name in find_packages(include=[source, f"{source}.*"])
        ),
    ],
    package_dir={f"{PREFIX}.{source}": source for source in SOURCES},
    include_package_data=False,
    package_data={"": ["py.typed", "sql/*.sql", "lua/*.lua", "pages/*"]},
)
