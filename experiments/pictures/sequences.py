"""Pictures, films and sound of a model of sequences."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from dbn_jax import data, figures, temporal
from dbn_jax.temporal import stack
from experiments.common import sequence_results
from experiments.common.runs import Run
from experiments.pictures import sound

_GIVEN, _GIVEN_MUSIC = 10, 20  # real frames before a dream
_LONGEST, _LONGEST_MUSIC = 300, 100  # frames that are shown
_DREAM_SECONDS = 10
_NUM_DREAMS = 4
_GIBBS_STEPS, _MEAN_FIELD_STEPS = 50, 10
_STRIP = {"images": 16, "people": 8}  # frames on paper of each film
_SLOWLY = 15  # frames of images a second
_NUM_COLUMNS = 4  # curves that stand for data that no one knows how to draw


def draw(
    key: jax.Array,
    run: Run,
    model: temporal.TemporalRBM,
    dataset: data.SequenceSet,
    part: str,
    name: str,
    results: dict[str, Any],
) -> None:
    """Draws what the model does with the longest of the sequences, and its weights."""
    frames = dataset.parts()[part]
    i = max(range(len(frames)), key=lambda i: len(frames[i]))
    memories = sequence_results.starts(model, dataset, part)
    memory = jax.tree.map(lambda x: x[i], memories)
    title = f"{dataset.name}: a held-out sequence, and what the {name} makes of it"
    if dataset.kind == "binary":
        _draw_music(key, run, model, dataset, frames[i], memory, title)
    else:
        _draw_films(key, run, model, dataset, frames[i], memory, title)
    if dataset.skeleton:
        num_frames = _GIVEN + round(_DREAM_SECONDS * dataset.frames_per_second)
        beginning = _beginning(dataset, frames[i])
        long = dream(jax.random.fold_in(key, 1), model, dataset, beginning, num_frames, memory)
        title = f"{dataset.name}: a dream of the {name}"
        _show(run, "dream", dataset, {"dream": long}, {"dream": len(beginning)}, title)
    for found, errors in results.items():
        if found.startswith("errors_ahead") and errors:  # of each style, if there are any
            run.save_figures({found: _errors_ahead(errors, name)})
    run.save_figures(_weights(model, dataset, name))


def draw_dreams(
    key: jax.Array,
    run: Run,
    model: temporal.TemporalRBM,
    dataset: data.SequenceSet,
    part: str,
    num_frames: int,
) -> None:
    """Draws dreams: some go on from the beginnings of sequences, the last begins with nothing."""
    frames, memories = dataset.parts()[part], sequence_results.starts(model, dataset, part)
    chosen = data.spread(np.arange(len(frames)), _NUM_DREAMS - 1)
    beginnings = [_beginning(dataset, frames[i][:num_frames]) for i in chosen]
    names = [f"from sequence {i + 1}" for i in chosen] + ["from nothing"]
    beginnings.append(beginnings[0][:0])
    dreams, given = {}, {}
    for number, i in enumerate([*chosen, chosen[0]]):
        dreams[names[number]] = dream(
            jax.random.fold_in(key, number),
            model,
            dataset,
            beginnings[number],
            num_frames,
            jax.tree.map(lambda x: x[i], memories),  # noqa: B023
        )
        given[names[number]] = len(beginnings[number])
    title = f"{dataset.name}: dreams of the model"
    subtitle = f"those from {part} sequences begin with {max(given.values())} real frames"
    _show(run, "dreams", dataset, dreams, given, title, subtitle)


def dream(
    key: jax.Array,
    model: temporal.TemporalRBM,
    dataset: data.SequenceSet,
    beginning: np.ndarray,
    num_frames: int,
    memory: Any,
) -> np.ndarray:
    """A beginning, which may have no frames, and what follows: so many frames in all.

    Notes are drawn; of grey levels and real numbers the means given drawn hidden states are shown,
    and remembered.
    """
    beginning = jnp.asarray(beginning, jnp.float32)
    go_on = stack.dream if isinstance(model, temporal.Stack) else temporal.dream
    made = go_on(
        key,
        model,
        beginning,
        num_frames - len(beginning),
        num_steps=_GIBBS_STEPS,
        means=dataset.kind != "binary",
        memory=memory,
    )
    return np.asarray(made)


def _beginning(dataset, v):
    """What is given of a sequence, so that some is left to dream."""
    return v[: min(_GIVEN_MUSIC if dataset.kind == "binary" else _GIVEN, len(v) - 1)]


def curves(table: dict[str, np.ndarray], name: str) -> Figure:
    """Draws the metrics of the training."""
    panels = {
        "squared error per frame": {"next frame, held out": "eval_squared_error"},
        "log p (nats per frame)": {"held out": "eval_log_likelihood"},
        "reconstruction error": {"training": "reconstruction_error"},
    }
    lines = {
        panel: {
            line: (table["epoch"], table[column])
            for line, column in columns.items()
            if column in table
        }
        for panel, columns in panels.items()
    }
    lines = {panel: drawn for panel, drawn in lines.items() if drawn}
    return figures.learning_curves(lines, title=f"Training of the {name}", x_label="epoch")


def _draw_music(key, run, model, dataset, v, memory, title):
    v = v[:_LONGEST_MUSIC]
    beginning = _beginning(dataset, v)
    rolls = {"real": v}
    begins = {"goes on": beginning, "from nothing": v[:0]}
    for each, (name, given) in zip(jax.random.split(key), begins.items(), strict=True):
        rolls[name] = dream(each, model, dataset, given, len(v), memory)
    subtitle = f"samples, by {_GIBBS_STEPS} Gibbs steps for each frame"
    _show(run, "piano_rolls", dataset, rolls, {"goes on": len(beginning)}, title, subtitle)


def _draw_films(key, run, model, dataset, v, memory, title):
    predict_key, dream_key = jax.random.split(key)
    v = v[:_LONGEST]
    beginning = _beginning(dataset, v)
    predicted = temporal.predict(
        predict_key,
        model,
        jnp.asarray(v, jnp.float32),
        num_steps=_MEAN_FIELD_STEPS,
        mean_field=True,
        memory=memory,
    )
    films = {
        "data": v,
        "prediction of the next frame": np.asarray(predicted),
        "dream": dream(dream_key, model, dataset, beginning, len(v), memory),
    }
    subtitle = f"each predicted frame follows real ones; the dream follows {len(beginning)}"
    _show(run, "film", dataset, films, {"dream": len(beginning)}, title, subtitle)


def _show(
    run: Run,
    file: str,
    dataset: data.SequenceSet,
    sequences: Mapping[str, np.ndarray],
    given: Mapping[str, int],
    title: str,
    subtitle: str | None = None,
) -> None:
    """Shows sequences beside each other, as piano rolls and sound, films, or curves.

    Args:
      file: name of the picture and of the film.
      given: of dreams, the number of frames that were given.
    """
    words = {"title": title, "subtitle": subtitle}
    if dataset.kind == "binary":
        _play(run, dataset, sequences)
        run.save_figures({file: _rolls(dataset, sequences, given, words)})
        return
    if not (dataset.image_shape or dataset.skeleton):
        run.save_figures({file: _curves(dataset, sequences, words)})
        return
    notes = {
        name: ["given"] * number + ["dreamt"] * (len(sequences[name]) - number)
        for name, number in given.items()
    }
    show = _images if dataset.image_shape else _people
    film, paper, rate = show(dataset, sequences, notes, words)
    figures.animate(film, run.workdir.figures / f"{file}.webp", frames_per_second=rate)
    run.save_figures({file: paper})


def _play(run, dataset, rolls):
    """Writes what is heard, a file of each kind for each roll."""
    for name, roll in rolls.items():
        path = run.workdir.figures / name.replace(" ", "_")
        sound.write_midi(path.with_suffix(".mid"), roll, dataset.frames_per_second)
        sound.write_wav(path.with_suffix(".wav"), roll, dataset.frames_per_second)


def _rolls(dataset, rolls, given, words):
    return figures.piano_rolls(
        rolls,
        given={name: number for name, number in given.items() if number},
        time_unit="seconds",
        steps_per_unit=dataset.frames_per_second,
        **words,
    )


def _curves(dataset, sequences, words):
    """Some columns over time, evenly spread."""
    return figures.learning_curves(
        {
            dataset.columns[i]: {
                name: (np.arange(len(v)) / dataset.frames_per_second, v[:, i])
                for name, v in sequences.items()
            }
            for i in data.spread(np.arange(len(dataset.columns)), _NUM_COLUMNS)
        },
        x_label="seconds",
        **words,
    )


def _images(dataset, sequences, notes, words):
    """A film, some of its frames on paper, and frames a second."""
    films = {name: np.clip(film, 0, 1) for name, film in sequences.items()}
    words = {"image_shape": dataset.image_shape, **words}
    paper = figures.film_strip(films, every=_every(films, "images"), **words)
    return figures.films(films, notes=notes, **words), paper, _SLOWLY


def _people(dataset, sequences, notes, words):
    """As `_images`, of stick figures."""
    skeleton = dataset.skeleton
    people = {name: skeleton.positions(v) for name, v in sequences.items()}
    sides = {side: _on(side, skeleton.joints) for side in ("left", "right")}
    every = _every(people, "people")
    paper = figures.stick_figures(people, skeleton.bones, every=every, **sides, **words)
    film = figures.stick_films(people, skeleton.bones, notes=notes, **sides, **words)
    return film, paper, dataset.frames_per_second


def _every(films, kind):
    return max(1, len(next(iter(films.values()))) // _STRIP[kind])


def _on(side, joints):
    """The joints on that side: there is one of the same name but for left and right, or l and r."""
    names = [joint.lower() for joint in joints]
    other = {"left": "right", "right": "left"}[side]
    found = []
    for number, name in enumerate(names):
        one, opposite = (side, other) if name.startswith(side) else (side[0], other[0])
        if name.startswith(one) and opposite + name.removeprefix(one) in names:
            found.append(number)
    return found


def _errors_ahead(errors, name):
    ahead = {
        (name if row == "model" else row): (np.arange(1, len(values) + 1), np.asarray(values))
        for row, values in errors.items()
    }
    return figures.learning_curves(
        {"squared error per frame": ahead},
        title="Further and further ahead",
        subtitle="from the middle of each sequence; the model goes on by its own predictions",
        x_label="frames ahead",
    )


def _weights(model, dataset, name) -> dict[str, Figure]:
    drawn = {}
    model = model.layers[0] if isinstance(model, temporal.Stack) else model
    if dataset.image_shape:
        drawn["features"] = figures.receptive_fields(
            np.asarray(model.rbm.weights),
            image_shape=dataset.image_shape,
            title=f"What the hidden units of the {name} see in the present",
        )
        if isinstance(model, temporal.ConditionalRBM) and model.order:
            num_visible = len(dataset.columns)
            past = np.asarray(model.to_hidden)[: model.order * num_visible]
            past = past.reshape(model.order, num_visible, -1)
            drawn["motion_fields"] = figures.motion_fields(
                np.concatenate([np.asarray(model.rbm.weights)[None], past]),
                delays=range(model.order + 1),
                image_shape=dataset.image_shape,
                title=f"What the hidden units of the {name} see in the last frames",
            )
    if isinstance(model, temporal.RTRBM):
        drawn["recurrent_weights"] = figures.recurrent_weights(
            np.asarray(model.recurrent), title=f"Recurrent weights of the {name}"
        )
    return drawn
