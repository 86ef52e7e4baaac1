#!/usr/bin/env python3
"""Makes the picture of the trace that trace_test left, and looks at it: the trace of a simulated machine is one of a kernel."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "launcher"))
import trace_check  # noqa: E402 (the path is set above)


def main() -> int:
    """The exit status; the argument is the file."""
    text = Path(sys.argv[1]).read_text(encoding="utf-8")
    script = [sys.executable, "-B", str(ROOT / "src" / "launcher" / "trace_json.py")]
    picture = json.loads(subprocess.run(script, input=text, capture_output=True, text=True, check=True).stdout)
    complaints = trace_check.complaints(picture)
    events = picture["traceEvents"]
    for what, found in {
        "requests": sum(event["ph"] == "e" and event["args"]["outcome"] == "used" for event in events),
        "arrows": sum(event["ph"] == "f" for event in events),
    }.items():
        if found != 400:  # 20 readers of 20 reads
            complaints.append(f"expected 400 {what}, found {found}")
    tracks = {(event["pid"], event["name"]) for event in events if event["ph"] == "b"}
    if tracks != {(disk, queue) for disk in (100, 101) for queue in ("queue 0", "queue 1")}:
        complaints.append(f"the tracks of requests are {sorted(tracks)}")
    print("\n".join(complaints) or "the picture is right")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
