"""Makes the wheel and the source archive of the Python package: what pip and other front ends call (PEP 517).

Meson builds the extension module by the same rules as for `make python`, the static core linked in; this puts the
result and the files beside it into a wheel. meson-python would want the extension installed by Meson's python module,
which in Debian's Meson does not know CPython 3.12 and later, and everything else that a C library installs kept out."""
import base64
import csv
import gzip
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SDIST = ['CHANGES.md', 'LICENSE', 'Makefile', 'README.md', 'adapters', 'bench', 'docs', 'examples', 'include',
         'meson.build', 'meson_options.txt', 'pyproject.toml', 'python', 'src', 'tests', 'tools']
NOT_IN_SDIST = re.compile(r'__pycache__|\.pyc$|^bench/results')


# --- Metadata

def project():
    """The table [project] of pyproject.toml, with the version."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    table = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']
    return {**table, 'version': re.search(r"version: '([^']+)'", (ROOT / 'meson.build').read_text())[1]}


def metadata():
    p = project()
    lines = ['Metadata-Version: 2.1', f"Name: {p['name']}", f"Version: {p['version']}", f"Summary: {p['description']}",
             f"License: {p['license']['text']}", f"Keywords: {','.join(p['keywords'])}",
             *(f'Classifier: {classifier}' for classifier in p['classifiers']),
             f"Requires-Python: {p['requires-python']}", 'License-File: LICENSE',
             'Description-Content-Type: text/markdown', '', (ROOT / p['readme']).read_text()]
    return '\n'.join(lines).encode()


def stem():
    p = project()
    return f"{p['name']}-{p['version']}"


def tag():
    python = 'cp' + sysconfig.get_config_var('py_version_nodot')
    return f"{python}-{python}-{re.sub('[-.]', '_', sysconfig.get_platform())}"


def dist_info():
    """The files of the .dist-info folder, but for RECORD."""
    wheel = f'Wheel-Version: 1.0\nGenerator: mtaio\nRoot-Is-Purelib: false\nTag: {tag()}\n'
    return {f'{stem()}.dist-info/METADATA': metadata(), f'{stem()}.dist-info/WHEEL': wheel.encode(),
            f'{stem()}.dist-info/LICENSE': (ROOT / 'LICENSE').read_bytes()}


# --- What is in it

def tool(name):
    """Meson and ninja: those beside this interpreter, where pip has put them, or else the machine's."""
    return shutil.which(name, path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}") or name


def build(directory):
    """The package, built for this interpreter alone: file name in the wheel -> content. Channels over NATS are in it where
    their client library is found here; it is needed then where they are used."""
    suffix = sysconfig.get_config_var('EXT_SUFFIX')
    subprocess.run([tool('meson'), 'setup', directory, ROOT, '--buildtype=release', '-Dexamples=false',
                    '-Dpython=enabled', f'-Dpython_programs={sys.executable}', '-Duv=disabled', '-Dglib=disabled'],
                   check=True)
    targets = subprocess.run([tool('ninja'), '-C', directory, '-t', 'targets', 'all'], check=True, capture_output=True,
                             text=True).stdout
    extensions = [f'python/mtaio/{name}{suffix}' for name in ('_core', '_nats') if f'/{name}{suffix}: ' in targets]
    subprocess.run([tool('ninja'), '-C', directory, *extensions], check=True)
    for extension in extensions:
        subprocess.run(['strip', '--strip-unneeded', Path(directory, extension)], check=False)
    files = {f'mtaio/{path.name}': path.read_bytes() for path in (ROOT / 'python/mtaio').iterdir()
             if path.suffix in ('.py', '.pyi', '.typed')}
    return {**files, **{extension.removeprefix('python/'): Path(directory, extension).read_bytes()
                        for extension in extensions}}


def record(files, name):
    rows = io.StringIO()
    writer = csv.writer(rows, lineterminator='\n')
    for path, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b'=').decode()
        writer.writerow([path, f'sha256={digest}', len(content)])
    writer.writerow([name, '', ''])
    return rows.getvalue().encode()


# --- The hooks

def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    with tempfile.TemporaryDirectory() as directory:
        files = {**build(directory), **dist_info()}
    name = f'{stem()}.dist-info/RECORD'
    wheel = f'{stem()}-{tag()}.whl'
    with zipfile.ZipFile(Path(wheel_directory, wheel), 'w', zipfile.ZIP_DEFLATED) as archive:
        for path, content in {**files, name: record(files, name)}.items():
            info = zipfile.ZipInfo(path)
            info.external_attr = (0o100755 if path.endswith('.so') else 0o100644) << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return wheel


def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    for path, content in dist_info().items():
        Path(metadata_directory, path).parent.mkdir(exist_ok=True)
        Path(metadata_directory, path).write_bytes(content)
    return f'{stem()}.dist-info'


def build_sdist(sdist_directory, config_settings=None):
    def wanted(info):
        return None if NOT_IN_SDIST.search(info.name.partition('/')[2]) else info

    name = f'{stem()}.tar.gz'
    content = metadata()
    with gzip.open(Path(sdist_directory, name), 'wb') as packed, \
            tarfile.open(fileobj=packed, mode='w', format=tarfile.PAX_FORMAT) as archive:
        for path in SDIST:
            archive.add(ROOT / path, f'{stem()}/{path}', filter=wanted)
        info = tarfile.TarInfo(f'{stem()}/PKG-INFO')
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return name
