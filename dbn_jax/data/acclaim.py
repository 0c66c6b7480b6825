"""Acclaim skeleton files (.asf), as CMU's motion capture has them.

Bones hang on each other in a tree that begins at the root. A bone has a direction and a length in
the world's coordinates of the rest pose, axes in which its turns are measured, and the turns that
it can make (dof), whose angles a motion file gives. A joint is where a bone ends.
"""

import dataclasses

import numpy as np

from dbn_jax import files
from dbn_jax.data import skeletons
from dbn_jax.typing import Float

_TURNS, _SHIFTS = ("rx", "ry", "rz"), ("tx", "ty", "tz")


@dataclasses.dataclass(frozen=True, eq=False)
class Acclaim:
    """A skeleton file; its channels are the root's, then those of the bones in the file's order."""

    joints: tuple[str, ...]  # the root, then the bones; each after its parent
    parents: tuple[int, ...]  # the root's is itself
    offsets: Float[np.ndarray, "joints 3"]  # bones from end to end, in the rest pose
    axes: Float[np.ndarray, "joints 3 3"]
    turns: tuple[tuple[str, tuple[int, ...]], ...]  # of each joint: order, channels
    shifts: tuple[int, ...]  # the root's channels of x, y and z
    position: Float[np.ndarray, " 3"]  # of the root
    columns: tuple[str, ...]

    def kinematics(self, channels: Float[np.ndarray, "T channels"]) -> np.ndarray:
        """The joints' positions (T, joints, 3)."""
        turned = [skeletons.euler(order, channels[:, at]) for order, at in map(_lists, self.turns)]
        # A bone turns in its own axes, and its end with it.
        rotations = np.stack(
            [c @ turn @ c.T for c, turn in zip(self.axes, turned, strict=True)], axis=1
        )
        offsets = np.einsum("tnij,nj->tni", rotations, self.offsets)
        root = self.position + channels[:, list(self.shifts)]
        return skeletons.chain(self.parents, root, offsets, rotations)


def read(path: files.Path) -> Acclaim:
    """Reads a skeleton file."""
    try:
        return _parse(files.read_text(path, encoding="latin-1"))
    except (KeyError, IndexError, ValueError) as error:
        raise ValueError(
            f"{path} is damaged, or no Acclaim skeleton ({type(error).__name__}: {error}): fetch "
            "it again"
        ) from error


def _parse(text):
    sections = _sections(text)
    root = {words[0].lower(): words[1:] for words in sections[":root"]}
    blocks, parents = _blocks(sections[":bonedata"]), _parents(sections[":hierarchy"])
    names = ["root", *_in_tree_order(list(blocks), parents)]
    unit = {words[0]: words[1] for words in sections[":units"]}
    if unit.get("angle", "deg") != "deg":
        raise ValueError("its angles are not in degrees")
    # Channels follow the order of the bones in the file.
    dof = {"root": [word.lower() for word in root["order"]]}
    dof |= {name: [w.lower() for w in block.get("dof", [])] for name, block in blocks.items()}
    channel = {}
    for name, moves in dof.items():
        for move in moves:
            if move not in _TURNS + _SHIFTS:
                raise ValueError(f"{name} moves by {move!r}")
            channel[name, move] = len(channel)
    axes = {"root": _axes([*root["orientation"], *root["axis"]])}
    axes |= {name: _axes(block["axis"]) for name, block in blocks.items()}
    offsets = {"root": np.zeros(3)}
    for name, block in blocks.items():
        direction = np.array(block["direction"], np.float64)
        offsets[name] = direction * float(block["length"][0]) / np.linalg.norm(direction)
    turns = [[move for move in dof[name] if move in _TURNS] for name in names]
    return Acclaim(
        joints=tuple(names),
        parents=tuple(names.index(parents.get(name, "root")) for name in names),
        offsets=np.stack([offsets[name] for name in names]),
        axes=np.stack([axes[name] for name in names]),
        turns=tuple(
            ("".join(move[1] for move in moves), tuple(channel[name, move] for move in moves))
            for name, moves in zip(names, turns, strict=True)
        ),
        shifts=tuple(channel["root", move] for move in _SHIFTS),
        position=np.array(root["position"], np.float64),
        columns=tuple(f"{name}.{move}" for name, move in channel),
    )


def _sections(text):
    """The lines of words below each ":keyword" at the beginning of a line."""
    sections, lines = {}, None
    for line in text.splitlines():
        words = line.split("#")[0].split()
        if words and words[0].startswith(":"):
            lines = sections.setdefault(words[0].lower(), [])
        elif words and lines is not None:
            lines.append(words)
    return sections


def _blocks(lines):
    """The entries of each bone between "begin" and "end", by its name."""
    blocks, block = {}, {}
    for words in lines:
        if words[0] == "begin":
            block = {}
        elif words[0] == "end":
            blocks[block["name"][0]] = block
        else:
            block[words[0]] = words[1:]
    return blocks


def _parents(lines):
    return {child: words[0] for words in lines for child in words[1:]}


def _in_tree_order(bones, parents):
    """The bones, each after its parent."""
    placed = []
    while remaining := [bone for bone in bones if bone not in placed]:
        ready = [b for b in remaining if parents[b] == "root" or parents[b] in placed]
        if not ready:
            raise ValueError(f"{remaining[0]} hangs on nothing")
        placed += ready
    return placed


def _axes(words):
    """The rotation of three angles and the order in which they are applied."""
    return skeletons.euler(words[3].lower(), np.array([words[:3]], np.float64))[0]


def _lists(turns):
    order, channels = turns
    return order, list(channels)
