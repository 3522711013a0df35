"""The snippets of the API reference, as a user would copy them, and how to run one: with the names that it leaves
undefined, and a look at the local variables of its functions when they end."""
import ast
import inspect
import sys
from pathlib import Path

SNIPPETS = {path.stem: path.read_text() for path in (Path(__file__).parent / 'snippets').glob('*.py')}


async def run_snippet(name, **undefined):
    """Runs the text of a snippet as if it were typed at a prompt that knows `await`; returns what it defined."""
    namespace = {'__name__': f'snippet_{name}', **undefined}
    text = SNIPPETS[name]
    if sys.version_info < (3, 12):
        text = text.replace('class Event[T]:', 'class Event:')   # the older Pythons' way to write the same
        namespace.setdefault('T', object)
    code = compile(text, f'{name}.py', 'exec', flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    pending = eval(code, namespace)
    if code.co_flags & inspect.CO_COROUTINE:
        await pending
    return namespace


async def locals_of(coroutine):
    """Awaits a coroutine of Python; returns its local variables as they were at its end."""
    code, found = coroutine.cr_code, {}

    def profile(frame, event, arg):
        if event == 'return' and frame.f_code is code:
            found.update(frame.f_locals)

    old = sys.getprofile()
    sys.setprofile(profile)
    try:
        await coroutine
    finally:
        sys.setprofile(old)
    return found
