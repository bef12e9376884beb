"""Run the test files side by side: `python3 tests/run.py [NAME ...]`. A file stops at its first
failure, and then its output is shown. The exit status is 1 if a test failed, or a file ended early."""

import concurrent.futures
import re
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
AT_ONCE = 6  # a test mostly waits


def run(file: Path) -> "tuple[str, int, int, int]":
    """Run a file; return its output, and how many of its tests passed, failed, were skipped."""
    command = [sys.executable, "-B", str(file), "--failfast"]
    output = subprocess.run(command, stdout=-1, stderr=-2, encoding="utf-8", errors="replace", check=False).stdout
    ran = re.search(r"^Ran (\d+) tests?.*\n\n(OK|FAILED)", output, re.M)
    bad, skipped = (sum(map(int, re.findall(rf"(?:{what})=(\d+)", output[ran.start() if ran else 0 :])))
                    for what in ("failures|errors", "skipped"))  # fmt: skip
    failed = bad if ran and (bad or ran[2] == "OK") else 1
    return output, max(0, int(ran[1]) - failed - skipped) if ran else 0, failed, skipped


with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
    names = sys.argv[1:] or [file.stem for file in sorted(FOLDER.glob("test_*.py"))]
    results = []
    for done in concurrent.futures.as_completed([pool.submit(run, FOLDER / f"{name}.py") for name in names]):
        results.append(done.result()[1:])
        if results[-1][1]:
            print(done.result()[0], flush=True)
passed, failed, skipped = (sum(column) for column in zip(*results))
print(f"{passed} passed, {failed} failed, {skipped} skipped")
sys.exit(failed > 0)
