"""The page in a notebook: the same module as an anywidget, with messages in the place of a server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from threading import Event, Thread
from typing import Any

from controlwindow.errors import ControlWindowError, UsageError
from controlwindow.live.requests import read_ask
from controlwindow.live.studio import Studio
from controlwindow.live.subjects import is_run, subject_of_model, subject_of_run
from controlwindow.models import Model, Neuron, load_model


def live_widget(
    source: str | Path | Model,
    *,
    behaviors: Sequence[str | Path] = (),
    neurons: Sequence[Neuron | str] = (),
    include_sensitive: bool = False,
    model: Model | None = None,
) -> Any:
    """A dose under a slider in a notebook, dosed and undosed text beside each other as it comes.

    Args:
        source: An audit's run directory, a model, or what `load_model` takes.
        behaviors: For a model: behaviors whose prompts and oracles are at hand.
        neurons: For a model: neurons to begin with.
        include_sensitive: Whether behaviors marked sensitive are shown; their text is then in the notebook.
        model: The model of a run that was made of one in hand.

    Returns:
        The widget; `state` is what is set, and can be assigned.

    Raises:
        UsageError: anywidget is not installed, or the run is no audit.
        LedgerError: Model or behaviors of the run are no longer what was measured.
    """
    made = _widget_class()
    if not isinstance(source, Model) and is_run(source):
        subject = subject_of_run(Path(source), include_sensitive=include_sensitive, model=model)
    else:
        loaded = source if isinstance(source, Model) else load_model(source)
        subject = subject_of_model(loaded, behaviors, neurons, include_sensitive=include_sensitive)
    return made(Studio(subject))


def _widget_class() -> Any:
    """The widget's class, made when anywidget is there."""
    try:
        import anywidget
        import traitlets
    except ImportError as error:
        raise UsageError(
            f"a live widget needs {error.name}, which is not installed", "pip install 'controlwindow[notebook]'"
        ) from error

    files = resources.files("controlwindow.live").joinpath("static")

    class LiveWidget(anywidget.AnyWidget):  # type: ignore[misc]
        """The page; see `live_widget`."""

        _esm = files.joinpath("live.js").read_text("utf-8")
        _css = files.joinpath("live.css").read_text("utf-8")
        state = traitlets.Dict().tag(sync=True)

        def __init__(self, studio: Studio) -> None:
            super().__init__()
            self._desk = Desk(studio, self.send)
            self.on_msg(lambda _widget, message, _buffers: self._desk.take(message))

    return LiveWidget


class Desk:
    """Answers the messages of a widget: questions at once, generations from a thread so that one can be left.

    Args:
        studio: What is asked.
        send: Sends a message to the page.
    """

    def __init__(self, studio: Studio, send: Any) -> None:
        self._studio, self._send = studio, send
        self._open: dict[int, Event] = {}

    def take(self, message: Mapping[str, Any]) -> Thread | None:
        """Take a message: `scene`, `neuron`, `generate` or `leave`, numbered by the page.

        Returns:
            The thread of a generation.
        """
        number, call, values = message["id"], message["call"], message.get("values") or {}
        if call == "leave":
            left = self._open.get(number)
            if left is not None:
                left.set()
            return None
        try:
            if call == "generate":
                ask, left = read_ask(values), Event()
                self._open[number] = left
                thread = Thread(target=self._generate, args=(number, ask, left), daemon=True)
                thread.start()
                return thread
            answer = self._studio.scene() if call == "scene" else self._studio.neuron(str(values.get("name")))
        except ControlWindowError as error:
            self._say(number, "refused", {"message": error.message, "hint": error.hint})
        else:
            self._say(number, "answer", answer)
        return None

    def _generate(self, number: int, ask: Any, left: Event) -> None:
        try:
            self._studio.generate(ask, lambda kind, values: self._say(number, kind, values), left)
        except ControlWindowError as error:
            self._say(number, "error", {"message": error.message, "hint": error.hint})
        except Exception as error:
            # A thread's exception is seen by nobody; the page must not wait for ever.
            self._say(number, "error", {"message": f"the generation failed: {type(error).__name__}", "hint": ""})
            raise
        finally:
            del self._open[number]

    def _say(self, number: int, kind: str, values: Any) -> None:
        self._send({"id": number, "kind": kind, "values": values})
