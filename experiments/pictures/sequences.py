"""Pictures, films and sound of a model of sequences."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from dbn_jax import data, figures, temporal
from experiments.common import sequence_results
from experiments.common.runs import Run
from experiments.pictures import sound

_GIVEN = 10  # real frames before a dream
_STRIP = 8  # frames on paper, of each film
_MUSIC_STEPS = 100  # of a piece that is drawn and played
_GIBBS_STEPS = 50
_NUM_COLOURS = 64


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
    if dataset.kind == "binary":
        _draw_music(key, run, model, dataset, frames[i][:_MUSIC_STEPS], name, memory)
    elif dataset.image_shape:
        _draw_balls(key, run, model, dataset, frames[i], name, memory)
    elif dataset.skeleton:
        _draw_motion(key, run, model, dataset, frames[i], name, memory)
    if results.get("errors_ahead"):
        run.save_figures({"errors_ahead": _errors_ahead(results, name)})
    run.save_figures(_weights(model, dataset, name))


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


def dream(key, model, v, num_frames, memory, *, means=True):
    """Goes on from the beginning of a sequence."""
    beginning = jnp.asarray(v[: min(_GIVEN, len(v) - 1)], jnp.float32)
    made = temporal.dream(
        key,
        model,
        beginning,
        num_frames - len(beginning),
        num_steps=_GIBBS_STEPS,
        means=means,
        memory=memory,
    )
    return np.asarray(made), len(beginning)


def _films(key, model, v, num_frames, memory):
    """Data, prediction and dream of the same length, and where the dream begins."""
    predict_key, dream_key = jax.random.split(key)
    predicted = temporal.predict(
        predict_key,
        model,
        jnp.asarray(v, jnp.float32),
        num_steps=10,
        mean_field=True,
        memory=memory,
    )
    dreamt, given = dream(dream_key, model, v, num_frames, memory)
    films = {"data": v[:num_frames], "prediction of the next frame": np.asarray(predicted)}
    films = {name: np.asarray(film)[:num_frames] for name, film in films.items()} | {
        "dream": dreamt
    }
    notes = {"dream": ["given"] * given + ["dreamt"] * (num_frames - given)}
    return films, notes, given


def _draw_balls(key, run, model, dataset, v, name, memory):
    films, notes, given = _films(key, model, v, len(v), memory)
    title = f"Bouncing balls, and what an {name} makes of them"
    subtitle = f"held-out film; each predicted frame follows real ones; the dream follows {given}"
    options = {"image_shape": dataset.image_shape, "title": title, "subtitle": subtitle}
    films = {name: np.clip(film, 0, 1) for name, film in films.items()}
    figures.animate(
        figures.films(films, notes=notes, **options),
        run.workdir.figures / "film.gif",
        frames_per_second=15,
        num_colours=_NUM_COLOURS,
    )
    strip = figures.film_strip(films, every=max(1, len(v) // _STRIP // 2), **options)
    run.save_figures({"film": strip})


def _draw_motion(key, run, model, dataset, v, name, memory):
    rate = dataset.frames_per_second
    films, notes, given = _films(key, model, v, len(v), memory)
    skeleton = dataset.skeleton
    people = {name: skeleton.positions(film) for name, film in films.items()}
    sides = {
        side: [i for i, joint in enumerate(skeleton.joints) if _is_on(side, joint)]
        for side in ("left", "right")
    }
    title = f"Walking, and what a {name} makes of it"
    subtitle = f"held-out motion; each predicted frame follows real ones; the dream follows {given}"
    options = {"title": title, "subtitle": subtitle, **sides}
    figures.animate(
        figures.stick_films(people, skeleton.bones, notes=notes, **options),
        run.workdir.figures / "film.gif",
        frames_per_second=rate,
        num_colours=_NUM_COLOURS,
    )
    strip = figures.stick_figures(people, skeleton.bones, every=max(1, len(v) // _STRIP), **options)
    run.save_figures({"film": strip})
    # Ten seconds of dreaming.
    dreamt, given = dream(jax.random.fold_in(key, 1), model, v, given_and(10 * rate), memory)
    long = {"dream of ten seconds": skeleton.positions(dreamt)}
    figures.animate(
        figures.stick_films(long, skeleton.bones, title=f"A dream of the {name}", **sides),
        run.workdir.figures / "dream.gif",
        frames_per_second=rate,
        num_colours=_NUM_COLOURS,
    )


def _is_on(side, joint):
    """Whether a joint is on that side, by its name: left hip, or lfemur."""
    whole = joint.startswith(("left", "right"))
    middle = joint in ("root", "lowerback", "lowerneck")
    return joint.startswith(side) if whole else joint[0] == side[0] and not middle


def given_and(num_frames):
    """So many frames after those that are given."""
    return _GIVEN + round(num_frames)


def _draw_music(key, run, model, dataset, v, name, memory):
    one_key, other_key = jax.random.split(key)
    rate = dataset.frames_per_second
    beginning = v[: 2 * _GIVEN]
    goes_on, _ = _play(one_key, model, beginning, len(v), memory)
    own, _ = _play(other_key, model, v[:0], len(v), memory)
    rolls = {"real": v, "goes on from the beginning": goes_on, "from nothing": own}
    given = {"goes on from the beginning": len(beginning)} if len(beginning) < len(v) else None
    run.save_figures(
        {
            "piano_rolls": figures.piano_rolls(
                rolls,
                given=given,
                title=f"{dataset.name}: a held-out piece, and what the {name} plays",
                subtitle=f"samples, by {_GIBBS_STEPS} Gibbs steps for each frame",
                time_unit="seconds",
                steps_per_unit=rate,
            )
        }
    )
    for file, roll in (("real", v), ("goes_on", goes_on), ("own", own)):
        path = run.workdir.figures / file
        sound.write_midi(path.with_suffix(".mid"), np.asarray(roll), rate)
        sound.write_wav(path.with_suffix(".wav"), np.asarray(roll), rate)


def _play(key, model, beginning, num_frames, memory):
    made = temporal.dream(
        key,
        model,
        jnp.asarray(beginning, jnp.float32),
        num_frames - len(beginning),
        num_steps=_GIBBS_STEPS,
        memory=memory,
    )
    return np.asarray(made), len(beginning)


def _errors_ahead(results, name):
    ahead = {
        (name if row == "model" else row): (np.arange(1, len(errors) + 1), np.asarray(errors))
        for row, errors in results["errors_ahead"].items()
    }
    return figures.learning_curves(
        {"squared error per frame": ahead},
        title="Further and further ahead",
        subtitle="from the middle of each sequence; the model goes on by its own predictions",
        x_label="frames ahead",
    )


def _weights(model, dataset, name) -> dict[str, Figure]:
    drawn = {}
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
