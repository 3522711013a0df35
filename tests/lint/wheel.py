"""The Python package as pip makes it: a source archive, from that a wheel without the network, and a program that uses
what is installed from the wheel.
Usage: wheel.py PYTHON SOURCE_ROOT"""
import os
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from tap import Tap, run

SDIST = '''
import sys
sys.path.insert(0, 'python')
import backend
print(backend.build_sdist(sys.argv[1]))
'''

PROGRAM = '''
import asyncio
import importlib.metadata
import sys
import mtaio
from mtaio.events import Channel, EventEmitter

async def main():
    emitter, seen = EventEmitter(), []
    @emitter.on('user.*')
    async def handle(event):
        seen.append(event.data)
    await emitter.emit('user.created', 1)
    channel = Channel[int]('numbers')
    subscriber = await channel.subscribe()
    await channel.publish(2)
    return seen + [(await subscriber.receive()).data]

assert mtaio.__file__.startswith(sys.argv[1]), mtaio.__file__
assert importlib.metadata.version('mtaio') == mtaio.__version__
assert asyncio.run(main()) == [1, 2]
'''
NATS = '''
import asyncio
import sys
from mtaio import nats
from mtaio.exceptions import NatsError

async def main():
    try:
        await nats.connect('nats://127.0.0.1:1', timeout=1)
    except NatsError:
        return True

assert nats.__file__.startswith(sys.argv[1]), nats.__file__
assert asyncio.run(main())
'''
WITHOUT_NATS = '''
import mtaio.events
try:
    import mtaio.nats
except ImportError as error:
    assert 'libnats' in str(error), error
else:
    raise SystemExit('mtaio.nats without its extension module')
'''
FILES = {'__init__.py', 'events.py', 'exceptions.py', 'nats.py', 'nats.pyi', 'py.typed', '_core.pyi', '_nats.pyi'}


def main():
    python, root = sys.argv[1:]
    tap = Tap()
    with tempfile.TemporaryDirectory() as scratch:
        def step(name, command, **options):
            """Without it nothing further makes sense."""
            output, problems = run(command, timeout=280, **options)
            tap.check(name, problems)
            if problems:
                tap.done()
            return output

        sdist = step('a source archive', [python, '-c', SDIST, scratch], cwd=root).split()[-1]
        with tarfile.open(Path(scratch, sdist)) as archive:
            archive.extractall(scratch)
        source = Path(scratch, sdist.removesuffix('.tar.gz'))
        pip = [python, '-m', 'pip', '--disable-pip-version-check', '--no-cache-dir']
        offline = ['--no-build-isolation', '--no-deps', '--no-index']
        env = {**os.environ, 'PIP_ROOT_USER_ACTION': 'ignore', 'PYTHONPATH': ''}
        step('a wheel of the source archive, without the network', [*pip, 'wheel', *offline, '-w', scratch, source],
             env=env)
        wheel = next(Path(scratch).glob('*.whl'))
        names = zipfile.ZipFile(wheel).namelist()
        extensions = sorted(name for name in names if name.endswith('.so'))
        # Channels over NATS are built where their client library is.
        has_nats = run(['pkg-config', '--exists', 'libnats'])[1] == []
        tap.check('the wheel holds the package, its extension modules and nothing else',
                  [f'missing: {name}' for name in sorted(FILES - {Path(name).name for name in names})] +
                  [f'not wanted: {name}' for name in names if not name.startswith(('mtaio/', 'mtaio-'))] +
                  ([] if len(extensions) == 1 + has_nats else [f'extension modules: {extensions}']))
        target = Path(scratch, 'installed')
        step('the wheel is installed', [*pip, 'install', *offline, '--target', target, wheel], env=env)
        for extension in extensions:
            output, problems = run(['readelf', '-d', target / extension])
            tap.check(f'{Path(extension).name} needs no library that is not in the wheel, but for libnats and the C library',
                      problems or [line for line in output.splitlines() if 'NEEDED' in line and not any(
                          name in line for name in ('libc.so', 'ld-linux', 'libnats.so', Path(extensions[0]).name))])
        output, problems = run([python, '-c', PROGRAM, target], env={**env, 'PYTHONPATH': str(target)}, cwd=scratch)
        tap.check('a program uses it', problems)
        program = NATS if has_nats else WITHOUT_NATS
        output, problems = run([python, '-c', program, target], env={**env, 'PYTHONPATH': str(target)}, cwd=scratch)
        tap.check('channels over NATS are in it, or it says what is missing', problems)
        if has_nats:
            (target / extensions[1]).unlink()
            output, problems = run([python, '-c', WITHOUT_NATS], env={**env, 'PYTHONPATH': str(target)}, cwd=scratch)
            tap.check('without their extension module the package works, and says what is missing', problems)
    tap.done()


if __name__ == '__main__':
    main()
