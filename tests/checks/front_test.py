"""Tests of ./test: what it counts, prints and exits with, in a project of its own with stages that pass, fail and break."""

import json
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
# Of the tests of a stage, named by its label: two pass, one fails, one cannot be started.
CMAKE_LISTS = """
cmake_minimum_required(VERSION 3.25)
project(stages LANGUAGES NONE)
enable_testing()
if(BROKEN)
    message(FATAL_ERROR "this does not configure")
endif()
add_test(NAME first COMMAND ${CMAKE_COMMAND} -E true)
add_test(NAME second COMMAND ${CMAKE_COMMAND} -E echo "<testcase name= status=\\"fail\\">")
set_tests_properties(first second PROPERTIES LABELS "launcher;bench")
add_test(NAME third COMMAND ${CMAKE_COMMAND} -E false)
add_test(NAME fourth COMMAND ./no-such-program)
set_tests_properties(third fourth PROPERTIES LABELS bench)
"""


def stage(name: str, *, broken: bool = False, tests: bool = True) -> dict[str, list[dict[str, Any]]]:
    steps = [{"type": "configure", "name": name}] + ([{"type": "test", "name": name}] if tests else [])
    return {
        "configurePresets": [
            {
                "name": name,
                "generator": "Ninja",
                "binaryDir": f"${{sourceDir}}/build/{name}",
                "cacheVariables": {"BROKEN": "ON" if broken else "OFF"},
            }
        ],
        "testPresets": [
            {
                "name": name,
                "configurePreset": name,
                "filter": {"include": {"label": f"^{name}$"}},
                "execution": {"noTestsAction": "error"},
                "output": {"outputJUnitFile": f"${{sourceDir}}/build/test-logs/{name}.xml"},
            }
        ],
        "workflowPresets": [{"name": name, "steps": steps}],
    }


# launcher passes, bench has failures, scripts does not configure, format has no test where there should be one, riscv64 is to
# have none.
STAGES = [
    stage("launcher"),
    stage("bench"),
    stage("scripts", broken=True),
    stage("format"),
    stage("riscv64", tests=False),
]


class Front(unittest.TestCase):
    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory(prefix="inflight-test-")
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        shutil.copy(ROOT / "test", self.directory)
        (self.directory / "src" / "launcher").mkdir(parents=True)
        for file in (ROOT / "src" / "launcher").glob("packages*"):
            shutil.copy(file, self.directory / "src" / "launcher")
        (self.directory / "CMakeLists.txt").write_text(CMAKE_LISTS, encoding="utf-8")
        presets = {kind: [one[kind][0] for one in STAGES] for kind in STAGES[0]}
        (self.directory / "CMakePresets.json").write_text(json.dumps({"version": 6} | presets), encoding="utf-8")

    def run_stages(self, *stages: str) -> "subprocess.CompletedProcess[str]":
        chosen = [word for name in stages for word in ("--stage", name)]
        command = [str(self.directory / "test"), *chosen]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    def expect(self, stages: list[str], status: int, last: str, *lines: str) -> None:
        ended = self.run_stages(*stages)
        self.assertEqual(ended.returncode, status, ended.stdout + ended.stderr)
        self.assertEqual(ended.stdout.splitlines()[-1], last)
        for line in lines:
            self.assertRegex(ended.stdout, f"(?m)^{line} +[0-9]+ s$")

    def test_what_passes(self) -> None:
        self.expect(["launcher"], 0, "2 passed, 0 failed", "launcher +ok +2 passed +0 failed")
        self.assertTrue((self.directory / "build" / "test-logs" / "launcher.xml").is_file())

    def test_a_stage_without_tests_is_one(self) -> None:
        self.expect(["riscv64"], 0, "1 passed, 0 failed", "riscv64 +ok +1 passed +0 failed")

    def test_failed_and_not_started(self) -> None:
        self.expect(["bench"], 1, "2 passed, 2 failed", r"bench +FAILED \(status 8\) +2 passed +2 failed")

    def test_what_breaks_is_one_failure_and_the_rest_runs(self) -> None:
        self.expect(
            ["scripts", "format", "launcher"],
            1,
            "2 passed, 2 failed",
            r"scripts +FAILED \(status [0-9]+\) +0 passed +1 failed",
            r"format +FAILED \(status [0-9]+\) +0 passed +1 failed",
            "launcher +ok +2 passed +0 failed",
        )

    def test_results_of_the_last_time_do_not_count(self) -> None:
        logs = self.directory / "build" / "test-logs"
        logs.mkdir(parents=True)
        (logs / "scripts.xml").write_text('<testsuite>\n\t<testcase name="a" status="run">\n', encoding="utf-8")
        self.expect(["scripts"], 1, "0 passed, 1 failed")

    def test_options(self) -> None:
        for words, complaint in ((["--stage", "nothing"], "wants one of"), (["--stage"], "wants one of"), (["-x"], "unknown option")):
            ended = subprocess.run([str(self.directory / "test"), *words], capture_output=True, text=True, check=False)
            self.assertEqual(ended.returncode, 2)
            self.assertIn(complaint, ended.stderr)
        ended = subprocess.run([str(self.directory / "test"), "--help"], capture_output=True, text=True, check=True)
        presets = json.loads((ROOT / "CMakePresets.json").read_text(encoding="utf-8"))
        for name in ended.stdout.split("only this one of: ")[1].split():
            self.assertIn(name, [flow["name"] for flow in presets["workflowPresets"]])


if __name__ == "__main__":
    unittest.main()
