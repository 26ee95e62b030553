"""Prints the ten slowest tests of a run, from its report in JUnit's form: slowest.py REPORT."""

import sys
import xml.etree.ElementTree

cases = xml.etree.ElementTree.parse(sys.argv[1]).iter("testcase")
times = sorted(((float(case.get("time")), case) for case in cases), key=lambda pair: -pair[0])
print("Slowest:")
for seconds, case in times[:10]:
    print(f"{seconds:9.3f} s  {case.get('classname')} {case.get('name')}")
