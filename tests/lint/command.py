"""A command that ends with status 0, as one test.
Usage: command.py NAME COMMAND [ARGUMENT...]"""
import sys

from tap import Tap, run


def main():
    tap = Tap()
    output, problems = run(sys.argv[2:], timeout=600)
    tap.check(sys.argv[1], problems)
    tap.done()


if __name__ == '__main__':
    main()
