"""Runs tests of the Python package by one interpreter; the cases come out in the Test Anything Protocol.
Usage: run.py PYTHON PACKAGE_DIR [--dev] [--preload LIBRARY] [PYTEST_ARGUMENT...]

PACKAGE_DIR holds the package mtaio that PYTHON can import. An interpreter without a pytest of its own uses Debian's,
which is of pure Python, like all that it needs. --dev: with -X dev, so with debug hooks in the allocator, asyncio's
debug mode and every warning."""
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
DEBIAN = '/usr/lib/python3/dist-packages'


def main():
    python, package, *arguments = sys.argv[1:]
    env = dict(os.environ, PYTHONPATH=f'{package}:{DEBIAN}', PYTHONDONTWRITEBYTECODE='1', PYTHONFAULTHANDLER='1',
               PYTEST_DISABLE_PLUGIN_AUTOLOAD='1', HYPOTHESIS_STORAGE_DIRECTORY='/nonexistent')
    options = ['-X', 'dev'] if arguments[:1] == ['--dev'] else []
    arguments = arguments[len(options) // 2:]
    if arguments[:1] == ['--preload']:
        env['LD_PRELOAD'] = arguments[1]
        env['LSAN_OPTIONS'] = f'suppressions={HERE}/lsan.supp:print_suppressions=0'
        env['ASAN_OPTIONS'] = env.get('ASAN_OPTIONS', '') + ':malloc_context_size=2'   # for the suppressions
        env['PYTHONMALLOC'] = 'malloc'   # the interpreter's own allocator would hide errors
        arguments = arguments[2:]
    files = [str(HERE / a) if a.endswith('.py') else a for a in arguments]
    os.execve(python, [python, *options, '-m', 'pytest', '--tap', '--tb=short', '-p', 'no:cacheprovider',
                       '--import-mode=importlib', '--rootdir', str(HERE), '-c', str(HERE / 'pytest.ini'), *files], env)


if __name__ == '__main__':
    main()
