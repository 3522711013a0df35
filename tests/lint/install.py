"""Installs into an empty directory and builds programs against what is there, as a user would: by pkg-config, with
the shared and the static library, in C and C++.
Usage: install.py MESON BUILD_DIR INCLUDE_DIR ADAPTER_DIR..."""
import os
import sys
import tempfile
from pathlib import Path

from tap import Tap, run

PROGRAM = r'''
#include <mtaio/mtaio.h>
#include <stdio.h>

static int count(mtaio_event *event, void *ctx) {
    ++*(int *)ctx;
    return mtaio_event_data(event) == ctx ? 0 : MTAIO_EINVAL;
}

int main(void) {
    int calls = 0;
    mtaio_emitter *em;
    if (mtaio_emitter_new(NULL, &em) < 0 || mtaio_on(em, "user.*", count, &calls) < 0)
        return 1;
    int r = mtaio_emit(em, "user.created", &calls);
    mtaio_emitter_unref(em);
    printf("%s: %d called, %d counted\n", mtaio_version(), r, calls);
    return r == 1 && calls == 1 ? 0 : 1;
}
'''


def main():
    meson, build, *includes = sys.argv[1:]
    tap = Tap()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        output, problems = run([meson, 'install', '-C', build, '--no-rebuild', '--quiet', '--destdir', root])
        tap.check('installs into DESTDIR', problems)
        pc = next(root.rglob('mtaio.pc'), None)
        if problems or pc is None:
            tap.check('mtaio.pc is installed', ['no mtaio.pc'] if pc is None else [])
            tap.done()
        libdir = pc.parent.parent
        env = dict(os.environ, PKG_CONFIG_LIBDIR=str(pc.parent), PKG_CONFIG_SYSROOT_DIR=str(root),
                   LD_LIBRARY_PATH=str(libdir))

        headers = {p.name for include in includes for p in Path(include).glob('mtaio/*.h')}
        installed = {p.name for p in root.rglob('include/mtaio/*')}
        tap.check('every public header is installed, and nothing else',
                  [f'{name}: only in one of them' for name in sorted(headers ^ installed)])
        output, problems = run(['readelf', '-d', libdir / 'libmtaio.so'])
        tap.check('the soname is libmtaio.so.0', problems or
                  ([] if 'soname: [libmtaio.so.0]' in output else [output]))

        source = root / 'program.c'
        source.write_text(PROGRAM)
        for name, compiler, static in (('C, shared library', ['gcc'], []), ('C++, shared library', ['g++', '-xc++'], []),
                                       ('C, static program', ['gcc', '-static'], ['--static'])):
            words, problems = run(['pkg-config', '--cflags', '--libs', *static, 'mtaio'], env=env)
            program = root / 'program'
            if not problems:
                output, problems = run([*compiler, '-Wall', '-Werror', source, '-xnone', *words.split(), '-o', program])
            if not problems:
                output, problems = run([program], env=env)
            tap.check(f'a program: {name}', problems)

        # What the adapters need besides is where it always is: only ours is moved into the root.
        env['PKG_CONFIG_PATH'] = env.pop('PKG_CONFIG_LIBDIR')
        del env['PKG_CONFIG_SYSROOT_DIR']
        moved = {}
        for flag, variable, place in ('-I', 'includedir', next(root.rglob('include'))), ('-L', 'libdir', libdir):
            output, problems = run(['pkg-config', f'--variable={variable}', 'mtaio'], env=env)
            moved[flag + output.strip()] = flag + str(place)
        for adapter in map(Path, includes[1:]):
            words, problems = run(['pkg-config', '--cflags', '--libs', f'mtaio-{adapter.name}'], env=env)
            if not problems:
                output, problems = run(['gcc', '-Wall', adapter / 'example.c', *(moved.get(w, w) for w in words.split()),
                                        '-pthread', '-o', program])
            if not problems:
                output, problems = run([program], env=env)
            tap.check(f'the example of mtaio-{adapter.name}', problems)
    tap.done()


if __name__ == '__main__':
    main()
