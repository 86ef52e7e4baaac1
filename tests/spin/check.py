#!/usr/bin/env python3
"""Checks the models of the protocols in which hardware takes part, with spin.

Each model is checked as it is, which must find no error, and with one thing done wrong at a time, each of which must be
found. Ends with status 0 if all of that is so.
"""

import pathlib
import re
import subprocess
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent


class Model:
    def __init__(self, file, mistakes, variants=("",), also_right=()):
        self.file = file
        self.mistakes = mistakes
        self.variants = variants  # what it is compiled with in any case
        self.also_right = also_right  # done otherwise, and no mistake


MODELS = [
    Model(
        "idle.pml",
        ["WITHOUT_MASK", "MASK_AFTER_LOOK", "WITHOUT_LOOK", "WITHOUT_INTERRUPT", "TWO_STEPS", "ASLEEP_AFTER_WAIT",
         "AWAKE_BEFORE_WAIT", "WITHOUT_WAKE_UP"],
    ),
    Model(
        "notification.pml",
        ["DRIVER_WITHOUT_FENCE", "DEVICE_WITHOUT_FENCE", "DEVICE_WITHOUT_LOOK"],
        variants=("EVENT_IDX", ""),
    ),
    # A queue that is unmarked after the look has been disarmed with it, so it is looked at once more when it is armed.
    # A line that is still high at its completion makes an interrupt pending again, which finds nothing.
    Model(
        "interrupt.pml",
        ["DEVICE_WITHOUT_FENCE", "DRIVER_WITHOUT_FENCE", "DRIVER_WITHOUT_LOOK", "ACKNOWLEDGE_AFTER_LOOK",
         "WITHOUT_COMPLETION", "WITHOUT_MASK", "WITHOUT_MARK_LOOK"],
        variants=("EVENT_IDX", ""),
        also_right=["UNMARK_AFTER_LOOK", "COMPLETE_BEFORE_ACKNOWLEDGE"],
    ),
    Model(
        "reset.pml",
        ["ACKNOWLEDGES_BEFORE_IT_STOPS", "WITHOUT_STOPPING", "ONE_ACKNOWLEDGEMENT", "WITHOUT_CONFIRMATION",
         "ABANDONS_WHAT_IS_FREE", "WITHOUT_GO_ON"],
    ),
]


class Verdict:
    def __init__(self, output):
        def number(pattern):
            found = re.search(pattern, output)
            if found is None:
                raise RuntimeError(f"not the output of a search:\n{output}")
            return int(found[1])

        self.errors = number(r"errors: (\d+)")
        self.states = number(r"(\d+) states, stored")
        self.complete = "Search not completed" not in output and "max search depth too small" not in output
        reason = re.search(r"^pan:\d+: (.*?) \(at depth", output, re.MULTILINE)
        self.reason = reason[1] if reason else ""
        self.output = output


def search(file, definitions):
    """Has spin search all states of a model, or as many as it takes to find an error."""
    with tempfile.TemporaryDirectory() as directory:

        def run(*command):
            done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=300)
            if done.returncode != 0:
                raise RuntimeError(f"{' '.join(command)}:\n{done.stdout}{done.stderr}")
            return done.stdout

        run("spin", *(f"-D{name}" for name in definitions if name), "-a", str(HERE / file))
        run("gcc", "-w", "-O0", "-DSAFETY", "-o", "pan", "pan.c")  # compiling is what takes the time
        return Verdict(run("./pan", "-m100000"))


class Models(unittest.TestCase):
    def errors(self, file, variant, change):
        verdict = search(file, [variant, change])
        print(f"{file:17} {variant:10} {change or 'as it is':29} {verdict.states:8} states  "
              f"{verdict.reason or 'no error'}", flush=True)
        if verdict.errors == 0:
            self.assertTrue(verdict.complete, verdict.output)
        return verdict.errors

    def test_right_as_they_are(self):
        for model in MODELS:
            for variant in model.variants:
                for change in ["", *model.also_right]:
                    with self.subTest(model=model.file, variant=variant, change=change):
                        self.assertEqual(self.errors(model.file, variant, change), 0)

    def test_every_mistake_is_found(self):
        found = []
        for model in MODELS:
            for variant in model.variants:
                for mistake in model.mistakes:
                    with self.subTest(model=model.file, variant=variant, mistake=mistake):
                        found.append(self.errors(model.file, variant, mistake) != 0)
                        self.assertTrue(found[-1], "not found")
        print(f"mistakes: {sum(found)} of {len(found)} found", flush=True)

    def test_every_change_is_one(self):
        """A name that the model does not know would be the model as it is."""
        for model in MODELS:
            text = (HERE / model.file).read_text()
            for name in [*model.mistakes, *model.also_right, *filter(None, model.variants)]:
                self.assertRegex(text, rf"(#ifn?def |defined\(){name}\b", f"{model.file} does not know {name}")


if __name__ == "__main__":
    unittest.main()
