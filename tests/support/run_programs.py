"""Run each ``*/program.py`` in its folder, all in this process; ``failed.json`` says what went
wrong.
"""

import json
import os
import runpy
import traceback
from pathlib import Path

here = Path.cwd()
failed = {}
for program in sorted(here.glob("*/program.py")):
    os.chdir(program.parent)
    try:
        runpy.run_path(str(program), run_name="__main__")
        failed[program.parent.name] = ""
    except Exception:  # whatever it is, the others run
        failed[program.parent.name] = traceback.format_exc()
(here / "failed.json").write_text(json.dumps(failed), encoding="utf-8")
