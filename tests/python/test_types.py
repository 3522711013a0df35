"""The type stubs: they say what is there, and mypy --strict finds with them what is wrong and nothing else."""
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import mtaio

FILES = Path(__file__).with_name('typing')
PACKAGE = Path(mtaio.__file__).parent


def mypy(*arguments, cache, module='mypy'):
    env = {**os.environ, 'MYPYPATH': str(PACKAGE.parent), 'MYPY_CACHE_DIR': str(cache), 'PYTHONWARNINGS': ''}
    p = subprocess.run([sys.executable, '-m', module, *map(str, arguments)], capture_output=True, text=True, env=env,
                       timeout=300)
    return p.returncode, p.stdout + p.stderr


@pytest.fixture(scope='module')
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp('cache')


@pytest.mark.parametrize('arguments', [
    ['-m', 'mtaio', '-m', 'mtaio.events', '-m', 'mtaio.exceptions', '-m', 'mtaio._core', '-m', 'mtaio.nats', '-m', 'mtaio._nats',
     '-m', 'mtaio._values'],
    [FILES / 'user.py'], [FILES / 'nats_user.py'],
    ['--python-version', '3.10', FILES / 'user.py']], ids=['the package', 'what a user writes', 'what a user of NATS writes', 'as of Python 3.10'])
def test_mypy_is_content(arguments, cache):
    status, output = mypy('--strict', *arguments, cache=cache)
    assert status == 0, output


@pytest.mark.parametrize('name', ['wrong.py', 'nats_wrong.py'])
def test_mypy_finds_what_is_wrong(name, cache):
    _, output = mypy('--strict', FILES / name, cache=cache)
    found = {int(m[1]) for m in re.finditer(rf'{name}:(\d+): error', output)}
    wanted = {n for n, line in enumerate((FILES / name).read_text().splitlines(), 1) if line.endswith('# wrong')}
    assert found == wanted, output


@pytest.mark.parametrize('module', ['mtaio.events', 'mtaio.nats'])
def test_the_stubs_say_what_is_there(module, cache):
    pytest.importorskip(module, reason='this package was built without libnats')
    status, output = mypy(module, '--allowlist', FILES / 'allowed.txt', '--ignore-unused-allowlist',
                          cache=cache, module='mypy.stubtest')
    assert status == 0, output


def test_the_package_says_that_it_is_typed():
    assert (PACKAGE / 'py.typed').exists() and (PACKAGE / '_core.pyi').exists() and (PACKAGE / 'events.pyi').exists()
