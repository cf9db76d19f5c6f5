"""Runs a training script, kills it, and lets it go on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


class Training:
    """Losses by step, as the script prints them."""

    def __init__(self, script: str, environment: dict[str, str]) -> None:
        self._command = [sys.executable, str(REPOSITORY / "examples" / script)]
        self._environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "python"), **environment}

    def run(
        self, *arguments: str, kill_after: int | None = None, is_silent: bool = False
    ) -> tuple[dict[int, float], float | None]:
        """
        Losses, and the accuracy of a run that came to its end. Killed without a word after so many steps. Ranks other than
        the first are silent.
        """
        losses: dict[int, float] = {}
        accuracy = None
        process = subprocess.Popen(
            [*self._command, *arguments], env=self._environment, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        with process, process.stdout:
            for line in process.stdout:
                said = json.loads(line)
                if "accuracy" in said:
                    accuracy = said["accuracy"]
                else:
                    losses[said["step"]] = said["loss"]
                if len(losses) == kill_after:
                    # Read on to the end: what it did until the end came may be in its checkpoint, too.
                    process.kill()
        assert kill_after is not None or process.returncode == 0, "the script failed: see its output above"
        assert (accuracy is None) == (is_silent or kill_after is not None)
        return losses, accuracy
