"""Say in a few lines what the test run held, from the reports that pytest left.

python -m book.tools.report FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree

from book.tools.project import ROOT

NAMES = {
    "1-unit": "package, sources and notebooks' text",
    "2-notebooks": "notebooks, executed against the wheel",
    "3-site": "built book, in a browser",
}


def main() -> None:
    total, skipped, seconds = 0, 0, 0.0
    print()
    for path in sorted(Path(sys.argv[1]).glob("*.xml")):
        suite = next(ElementTree.parse(path).iter("testsuite"))
        tests, left = int(suite.attrib["tests"]), int(suite.attrib["skipped"])
        took = float(suite.attrib["time"])
        print(f"{NAMES[path.stem]:40} {tests - left:5} passed {left:3} skipped {took:7.0f} s")
        for case in suite.iter("testcase"):
            reason = case.find("skipped")
            if reason is not None:
                print(f"    skipped {case.attrib['name']}: {reason.attrib.get('message', '')}")
        total, skipped, seconds = total + tests, skipped + left, seconds + took
    print(f"The book is in {ROOT / '_build' / 'html' / 'index.html'}")
    print(f"==== {total - skipped} passed, {skipped} skipped in {seconds:.2f}s ====")


if __name__ == "__main__":
    main()
