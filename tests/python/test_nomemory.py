"""Hazard 58: out of memory at every allocation of Python in scenarios and snippets is MemoryError or success, and never
a crash; everything works afterwards, and nothing is leaked."""
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip('_testcapi', reason='this Python comes without _testcapi')

PROGRAM = Path(__file__).with_name('nomemory.py')
TEXT = PROGRAM.read_text()
ALL, SIMPLE = (re.findall(r'^async def (\w+)\(run\)', text, re.MULTILINE)[:-1]
               for text in (TEXT, TEXT[TEXT.index('# What follows makes no functions'):]))


def sweep(name):
    return subprocess.run([sys.executable, PROGRAM, name], capture_output=True, text=True, timeout=150,
                          env={**os.environ, 'PYTHONPATH': f'{PROGRAM.parent}:{os.environ["PYTHONPATH"]}',
                               'PYTHONFAULTHANDLER': '1'})


def frail():
    """Whether the interpreter crashes all by itself where it makes functions, as the snippets do."""
    return sweep('interpreter').returncode != 0


@pytest.mark.parametrize('name', SIMPLE if frail() else ALL)
def test_no_memory(name):
    p = sweep(name)
    assert p.returncode == 0, p.stdout[-2000:] + p.stderr[-3000:]
