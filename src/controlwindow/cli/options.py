"""Arguments that several commands share, and how they become values."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from controlwindow.behaviors.files import safe_text
from controlwindow.cli.threads import use_threads
from controlwindow.errors import UsageError
from controlwindow.models import Model, Neuron, load_model
from controlwindow.models.neuron_files import named_neurons

DEFAULT_MODEL = "organism:switch"

ModelArgument = Annotated[
    str,
    typer.Argument(
        help="organism:NAME, a local directory, a GGUF file, or a hub id.", show_default=True, metavar="MODEL"
    ),
]
BehaviorOption = Annotated[str, typer.Option("--behavior", "-b", help="A behavior's name, or a path to a TOML file.")]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
DtypeOption = Annotated[
    str | None, typer.Option(help="float32, bfloat16 or float16; default float32 on CPU, the checkpoint's on CUDA.")
]
SystemOption = Annotated[str | None, typer.Option("--system-prompt", help="System message for the chat template.")]
AdapterOption = Annotated[
    Path | None, typer.Option("--adapter", help="Folder of a PEFT adapter that is merged into the weights on loading.")
]
ThreadsOption = Annotated[
    int | None, typer.Option("--threads", help="Cores that products use; default those at hand, or OMP_NUM_THREADS.")
]
SeedOption = Annotated[int, typer.Option(help="Seed of everything random.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else there.")]
RunArgument = Annotated[Path, typer.Argument(help="A run directory.", metavar="RUN")]
CompletionsOption = Annotated[
    bool, typer.Option("--include-completions", help="Show completions of sensitive behaviors in the report.")
]
NeuronsOption = Annotated[
    bool,
    typer.Option(
        "--include-neurons",
        help="Name neurons and doses of sensitive behaviors in report and tables on any model, organism or not.",
    ),
]
OpenOption = Annotated[bool, typer.Option("--open", help="Open the report in the browser when it is written.")]
RemoteJudgeOption = Annotated[
    bool,
    typer.Option("--remote-judge", help="Allow judges on other machines to read answers of sensitive behaviors."),
]

_DTYPES = ("float32", "bfloat16", "float16")


class ModelSource(NamedTuple):
    """A model as a command line names it, and how it is loaded.

    Attributes:
        name: organism:NAME, a local directory, or a hub id.
        device: auto, cpu, cuda or cuda:N.
        dtype: Type of the weights; None for the default.
        system_prompt: System message for the chat template, if any.
        adapter: Folder of a PEFT adapter to merge, if any.
        threads: Cores that products use; None for those at hand.
    """

    name: str
    device: str
    dtype: str | None
    system_prompt: str | None
    adapter: Path | None = None
    threads: int | None = None

    def open(self) -> Model:
        """Load the model.

        Raises:
            UsageError: There is no such dtype, or a number of threads below 1.
            ModelError: It cannot be loaded.
        """
        if self.dtype is not None and self.dtype not in _DTYPES:
            raise UsageError(f"unknown dtype {self.dtype!r}", f"use one of {', '.join(_DTYPES)}")
        use_threads(self.threads)
        return load_model(
            self.name,
            device=self.device,
            dtype=self.dtype,
            system_prompt=self.system_prompt,
            adapter=self.adapter,
        )


def opens_model(
    default: str | None = None, *, metavar: str = "MODEL", help: str | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the argument MODEL and the options that say how it is loaded, in the place of `model`.

    The command takes them as one `ModelSource`, so that a further option is written here alone.

    Args:
        default: The model where none is named; None makes the argument necessary.
        metavar: What the help calls the argument, where it may be something else too.
        help: What it says of it then.
    """
    given = ModelArgument if help is None else Annotated[str, typer.Argument(help=help, metavar=metavar)]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        signature, keyword = inspect.signature(command, eval_str=True), inspect.Parameter.KEYWORD_ONLY
        named = inspect.Parameter.empty if default is None else default
        options = [
            inspect.Parameter("device", keyword, default="auto", annotation=DeviceOption),
            inspect.Parameter("dtype", keyword, default=None, annotation=DtypeOption),
            inspect.Parameter("system_prompt", keyword, default=None, annotation=SystemOption),
            inspect.Parameter("adapter", keyword, default=None, annotation=AdapterOption),
            inspect.Parameter("threads", keyword, default=None, annotation=ThreadsOption),
        ]
        others = [p.replace(kind=keyword) for name, p in signature.parameters.items() if name != "model"]
        # The options stand before what says how results are shown.
        last = next((i for i, p in enumerate(others) if p.name.startswith(("include_", "as_json"))), len(others))
        argument = inspect.Parameter("model", keyword, default=named, annotation=given)
        parameters = [argument, *others[:last], *options, *others[last:]]

        @wraps(command)
        def wrapped(**values: Any) -> None:
            names = [values.pop(name) for name in ("model", *(option.name for option in options))]
            command(model=ModelSource(*names), **values)

        wrapped.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        wrapped.__annotations__ = {p.name: p.annotation for p in parameters}
        return wrapped

    return decorate


def read_named(given: list[str] | None) -> list[str]:
    """Names of neurons as a command is given them, with those of a file in the place of its `@FILE`.

    Raises:
        NeuronError: A name is malformed, or a file of neurons cannot be read.
    """
    return [str(Neuron.parse(name)) for name in named_neurons(given or ())]


def read_lines(path: Path, what: str) -> list[str]:
    """Non-empty lines of a text file.

    Raises:
        UsageError: The file cannot be read or holds too little.
    """
    try:
        lines = [line.strip() for line in safe_text(path).splitlines()]
    except ValueError as error:
        raise UsageError(
            f"cannot read {what} from {path}: {error}", "give a UTF-8 text file, one prompt a line"
        ) from error
    found = [line for line in lines if line]
    if len(found) < 8:
        raise UsageError(f"{path} holds {len(found)} {what}, at least 8 are needed", "add lines, one prompt each")
    return found
