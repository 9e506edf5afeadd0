"""Say in a few lines what the test run held, from the reports that pytest left; exit with 1 if some failed.

python -m book.tools.report FOLDER
"""

from __future__ import annotations

import sys
from datetime import datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree

from book.tools.project import ROOT

NAMES = {
    "1-unit": "package, sources and notebooks' text",
    "2-notebooks": "notebooks, executed against the wheel",
    "3-site": "built book, in a browser",
}
WRONG = ("failure", "error")


def main() -> int:
    totals = dict.fromkeys(("passed", "failed", "skipped"), 0)
    begun, ended, missing = [], [], []
    print()
    for stem, name in NAMES.items():
        path = Path(sys.argv[1]) / f"{stem}.xml"
        if not path.exists():
            missing.append(name)
            print(f"{name:40} did not run")
            continue
        suite = next(ElementTree.parse(path).iter("testsuite"))
        counts = {part: int(suite.attrib[part]) for part in ("tests", "skipped", "failures", "errors")}
        failed, skipped = counts["failures"] + counts["errors"], counts["skipped"]
        of_suite = {"passed": counts["tests"] - failed - skipped, "failed": failed, "skipped": skipped}
        seconds = float(suite.attrib["time"])
        told = " ".join(f"{number:5} {part}" for part, number in of_suite.items())
        print(f"{name:40} {told} {seconds:7.0f} s")
        for case in suite.iter("testcase"):
            reason = case.find("skipped")
            if reason is not None:
                print(f"    skipped {case.attrib['name']}: {reason.attrib.get('message', '')}")
            if any(case.find(kind) is not None for kind in WRONG):
                print(f"    FAILED {case.attrib['classname']}::{case.attrib['name']}")
        for part, number in of_suite.items():
            totals[part] += number
        begun.append(datetime.fromisoformat(suite.attrib["timestamp"]))
        ended.append(begun[-1] + timedelta(seconds=seconds))
    took = (max(ended) - min(begun)).total_seconds() if begun else 0.0  # they ran side by side
    wrong = f"{totals['failed']} failed, " if totals["failed"] else ""
    if not missing:
        print(f"The book is in {ROOT / '_build' / 'html' / 'index.html'}")
    print(f"==== {wrong}{totals['passed']} passed, {totals['skipped']} skipped in {took:.2f}s ====")
    return 1 if wrong or missing else 0


if __name__ == "__main__":
    sys.exit(main())
