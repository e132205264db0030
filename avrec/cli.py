"""The console command `avrec <verb>`; the scripts at the root of a checkout call the same `main`.

Nothing heavy is imported here: `--help` and a misspelt key answer before PyTorch would have been loaded.
"""

import os
import sys
import traceback

import avrec
from avrec.build.nearest import hint
from avrec.core.errors import ArtefactError, AvrecError, ConfigError, DataError, MissingExtraError, TrainingError

VERBS = {
    "prepare": "turn a log, tables and features into a prepared data set",
    "embed": "decode and encode the media of a catalogue into the caches that training reads",
    "train": "fit the two towers on a prepared data set and evaluate them",
    "evaluate": "rank the whole catalogue for held-out users, beside tuned baselines",
    "ablate": "train variants of a model over seeds, and say what each part is worth",
    "slide": "train on one window of time after another, and average over them",
    "report": "write report.html and model_card.md of a trained run",
    "export": "write a bundle that serving loads without PyTorch",
    "recommend": "the best items for a user or a history, from a bundle",
    "serve": "answer over HTTP from a bundle, without PyTorch",
    "verify": "check a bundle's files against its manifest",
}

# The first class that fits decides the exit code.
EXIT_CODES: tuple[tuple[type[BaseException], int], ...] = (
    (ConfigError, 2),
    (DataError, 3),
    (ArtefactError, 4),
    (MissingExtraError, 5),
    (TrainingError, 6),
    (AvrecError, 2),
)
UNEXPECTED = 1
INTERRUPTED = 130

HELP = """avrec: an end-to-end training framework for audio-video recommendation

Usage: avrec VERB [key=value ...] [group=option ...]
       avrec VERB --help         what can be set, with examples

Verbs:
{verbs}

Examples:
  avrec train +experiment=quickstart          the whole line from media files, on the sample catalogue
  avrec train -m +experiment=quickstart seed=1,2,3
  avrec evaluate ckpt=runs/train/TIME/model.pt
  avrec export ckpt=runs/train/TIME/model.pt

Exit codes: 0 done, 1 a defect of avrec (with a traceback), 2 configuration, 3 data, 4 a damaged or foreign artefact,
5 a package that is not installed, 6 training that collapsed, 130 interrupted. AVREC_DEBUG=1 shows the traceback of every error."""


def main(verb: str | None = None) -> int:
    """Run one verb with the arguments of the process and return its exit code.

    Args:
        verb: the verb of a script such as `train.py`; None for the console command, whose first argument it is.
    """
    arguments = sys.argv[1:]
    program = sys.argv[:1]
    if verb is None:
        if not arguments or arguments[0] in ("-h", "--help", "help"):
            print(HELP.format(verbs="\n".join(f"  {name:10} {text}" for name, text in VERBS.items())))
            return 0 if arguments else EXIT_CODES[0][1]
        if arguments[0] == "--version":
            print(f"avrec {avrec.__version__}")
            return 0
        program, verb, arguments = sys.argv[:2], arguments[0], arguments[1:]
    try:
        _run(verb, arguments, program)
    except AvrecError as error:
        return _report(error, verb)
    except KeyboardInterrupt:
        print(f"avrec {verb}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except Exception:
        traceback.print_exc()
        return UNEXPECTED
    return 0


def _run(verb: str, arguments: list[str], program: list[str]) -> None:
    if verb not in VERBS:
        raise ConfigError(f"no such verb; {hint(verb, VERBS)}")
    from avrec.build.launch import launch

    launch(verb, arguments, program)


def _report(error: AvrecError, verb: str) -> int:
    if os.environ.get("AVREC_DEBUG") == "1":
        traceback.print_exception(error)
    else:
        print(f"avrec {verb}: {error}", *getattr(error, "__notes__", ()), sep="\n", file=sys.stderr)
    return next(code for kind, code in EXIT_CODES if isinstance(error, kind))


if __name__ == "__main__":
    sys.exit(main())
