"""Runs the benchmarks of speed and writes their tables into docs/performance.md.

    python benchmarks/tables.py [decoding] [training]

Each table is between two comments in the page, followed by the machine, the versions
and the date. Both benchmarks take half an hour.
"""

import argparse
import datetime
import importlib
import importlib.metadata
import json
import os
import pathlib
import platform
import re
import subprocess
import sys

BENCHMARKS = ("decoding", "training")
HERE = pathlib.Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "performance.md"


def main() -> None:
    """Runs the benchmarks and writes their tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="benchmark. Default: all"
    )
    args = parser.parse_args()
    for name in args.names:
        if name not in BENCHMARKS:
            parser.error(
                f"NAME must be one of {', '.join(BENCHMARKS)}. Received: {name}"
            )
    for name in args.names or BENCHMARKS:
        command = [sys.executable, str(HERE / f"{name}.py"), "--json"]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        module = importlib.import_module(name)
        lines = [module.HEADER, *map(module.format_row, json.loads(output.stdout))]
        table = "\n".join(lines)
        print(table, flush=True)
        content = f"{table}\n\n{describe_run()}"
        page = replace_table(PAGE.read_text("utf-8"), name, content)
        PAGE.write_text(page, "utf-8")


def replace_table(page: str, name: str, content: str) -> str:
    """Returns the page with new content between the comments of a name."""
    begin, end = f"<!-- begin {name} -->\n", f"\n<!-- end {name} -->"
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    if len(pattern.findall(page)) != 1:
        raise ValueError(f"The page must have exactly one table '{name}'.")
    return pattern.sub(lambda _: f"{begin}\n{content}\n{end}", page)


def describe_run() -> str:
    """Returns the seed, the date, the machine and the versions of a run."""
    versions = []
    for package in ("tensorflow", "keras", "torch"):
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    when = datetime.datetime.now(datetime.UTC).date().isoformat()
    return (
        f"(Seed 0; {when}; {os.cpu_count()}-core CPU ({describe_processor()}), Python "
        f"{platform.python_version()}, {', '.join(versions)}; kseq "
        f"{importlib.metadata.version('kseq')}.)"
    )


def describe_processor() -> str:
    """Returns the name of the processor, and whether it has AVX-512."""
    try:
        text = pathlib.Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    model = re.search(r"^model name\s*: (.*)$", text, re.MULTILINE)
    name = model[1].strip() if model else platform.machine()
    return name + (" with AVX-512" if "avx512f" in text else "")


if __name__ == "__main__":
    main()
