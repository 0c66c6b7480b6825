"""Motion capture: splits, standardisation, names, skeletons worked out by hand, and bad files."""

import re

import numpy as np
import pytest
import scipy.io
from scipy.spatial.transform import Rotation

from dbn_jax import data
from dbn_jax.data import acclaim, bvh, skeletons, walking

RANDOM = np.random.default_rng(0)
# The numbers of the walks that change, as the first programs list them.
KEPT = np.r_[0:9, 13, 18:21, 25, 30:33, 37, 42:45, 49]
KEPT = np.r_[KEPT, [i for at in range(54, 108, 6) for i in range(at, at + 3)]]
ASF = """# two bones
:units
  mass 1.0
  angle deg
:root
  order TX TY TZ RX RY RZ
  axis XYZ
  position 0 0 0
  orientation 0 0 0
:bonedata
  begin
    id 1
    name hand
    direction 0 1 0
    length 2
    axis 0 0 90 XYZ
    dof rx
    limits (0 90)
  end
  begin
    id 2
    name arm
    direction 0 2 0
    length 3
    axis 0 0 0 XYZ
    dof rx ry rz
  end
  begin
    id 3
    name nail
    direction 1 0 0
    length 1
    axis 0 0 0 XYZ
  end
:hierarchy
  begin
    root arm
    arm hand
    hand nail
  end
"""
BVH = """HIERARCHY
ROOT Hips
{
  OFFSET 0 5 0
  CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
  JOINT Knee
  {
    OFFSET 1 0 0
    CHANNELS 1 Zrotation
    End Site
    {
      OFFSET 0 -2 0
    }
  }
}
MOTION
Frames: 3
Frame Time: 0.02
"""


def write_walks(folder, walks):
    cells = np.empty((1, len(walks)), object)
    cells[0, :] = walks
    scipy.io.savemat(folder / "motion.mat", {"Motion": cells})


def write_cmu35(folder, **changes):
    frames, tested = RANDOM.normal(size=(9, 10)), RANDOM.normal(size=(5, 10))
    frames[:, 8] = tested[:, 8] = 7  # never changes
    content = {
        "Y": frames,
        "lbls": np.eye(2, dtype=np.uint8)[[0] * 5 + [1] * 4],
        "Ytest": tested,
        "lblstest": np.eye(2, dtype=np.uint8)[[0, 0, 1, 1, 1]],
    }
    scipy.io.savemat(folder / "cmu35WalkJog.mat", content | changes)
    (folder / "35.asf").write_text(ASF)
    return content


@pytest.fixture
def walks():
    return [RANDOM.normal(1, 2, (length, 108)) for length in (230, 90, 446)]


def test_the_last_326_frames_of_the_third_walk_test(tmp_path, walks):
    write_walks(tmp_path, walks)
    motions = data.load_sequences("walking", data_dir=tmp_path)
    assert [len(s) for s in motions.train] == [115, 115, 90, 120]
    assert [len(s) for s in motions.test] == [100, 100, 100, 26]
    assert (motions.validation, motions.kind, motions.frames_per_second) == ((), "real", 30)
    every = np.concatenate(walks)[:, KEPT]
    expected = (every - every.mean(0)) / every.std(0, ddof=1)
    frames = np.concatenate(motions.train + motions.test)
    np.testing.assert_allclose(frames, expected, atol=1e-5)
    np.testing.assert_allclose(frames[0] * motions.scale + motions.mean, every[0], atol=1e-5)
    assert len(motions.columns) == 49
    names = {2: "turn", 9: "left knee y", 10: "left ankle x", 48: "right wrist z"}
    assert {unit: motions.columns[unit] for unit in names} == names


def test_a_root_seen_from_the_body_is_brought_back_to_the_room():
    """Against the angles and steps that Taylor's preprocessing takes from a root in the room."""
    headings = np.cumsum(RANDOM.normal(0, 0.5, 12))
    headings -= headings[0]
    tilts = RANDOM.normal(0, 0.3, (12, 2))
    root = Rotation.from_euler("ZYX", np.column_stack([headings, tilts])).as_matrix()
    place = RANDOM.normal(0, 50, (12, 3))
    place[0, :2] = 0
    forward, left = root[:, :, 0], root[:, :, 1]
    numbers = np.zeros((12, 108))
    numbers[:, 0], numbers[:, 1] = np.arccos(-forward[:, 2]), np.arccos(-left[:, 2])
    seen = np.arctan2(forward[:, 1], forward[:, 0])
    numbers[:-1, 2] = np.diff(seen)
    steps = np.diff(place[:, :2], axis=0)
    bearing = seen[:-1] - np.arctan2(steps[:, 1], steps[:, 0])
    numbers[:-1, 3] = np.linalg.norm(steps, axis=1) * np.cos(bearing)
    numbers[:-1, 4] = np.linalg.norm(steps, axis=1) * np.sin(bearing)
    numbers[:, 5] = place[:, 2]
    hip = np.array([10.0, 92.0, -3.0])
    numbers[:, 9:12] = hip
    positions = walking.kinematics(numbers)
    np.testing.assert_allclose(positions[:, 0], place[:, [1, 2, 0]], atol=1e-9)
    np.testing.assert_allclose(positions[:, 1], (place + root @ hip)[:, [1, 2, 0]], atol=1e-9)


def test_a_bent_knee_puts_the_foot_behind(tmp_path, walks):
    """Thigh and shin of 400 hang straight down; the knee turns by a right angle."""
    stand = np.zeros(108)
    stand[[10, 17, 23]] = 90, -400, -400  # places of hip, knee and ankle
    for walk in walks:
        walk[:] = stand
        walk[:, KEPT] = RANDOM.normal(size=(len(walk), 49))
    stand[[0, 1, 5, 13]] = np.pi / 2, np.pi / 2, 900, np.pi / 2
    write_walks(tmp_path, walks)
    motions = data.load_sequences("walking", data_dir=tmp_path)
    frame = (stand[KEPT] - motions.mean) / motions.scale
    body = motions.skeleton
    positions = body.positions(np.tile(frame, (2, 1)).astype(np.float32))
    assert body.joints[1:4] == ("left hip", "left knee", "left ankle")
    assert body.bones[:3] == ((0, 1), (1, 2), (2, 3))
    expected = [[0, 900, 0], [90, 900, 0], [90, 500, 0], [90, 500, -400]]
    np.testing.assert_allclose(positions[0, :4], expected, atol=1e-2)


def test_cmu35_is_cut_by_labels_and_standardised_by_training_frames(tmp_path):
    content = write_cmu35(tmp_path)
    motions = data.load_sequences("cmu35", data_dir=tmp_path)
    assert [len(s) for s in motions.train] == [5, 4]
    assert [len(s) for s in motions.test] == [2, 3]
    assert motions.labels == {"train": ("walk", "walk"), "validation": (), "test": ("run", "walk")}
    assert motions.columns == (
        *("root.tx", "root.ty", "root.tz", "root.rx", "root.ry", "root.rz"),
        *("hand.rx", "arm.rx", "arm.rz"),
    )
    kept = [0, 1, 2, 3, 4, 5, 6, 7, 9]
    frames = content["Y"][:, kept]
    expected = (content["Ytest"][:, kept] - frames.mean(0)) / frames.std(0)
    np.testing.assert_allclose(np.concatenate(motions.test), expected, atol=1e-5)
    # Standardisation is undone, and the number that never changes put back.
    positions = motions.skeleton.positions(motions.test[1])
    assert motions.skeleton.joints == ("root", "arm", "hand", "nail")
    assert motions.skeleton.bones == ((0, 1), (1, 2), (2, 3))
    skeleton = acclaim.read(tmp_path / "35.asf")
    np.testing.assert_allclose(positions, skeleton.kinematics(content["Ytest"][2:]), atol=1e-4)
    np.testing.assert_allclose(positions[:, 0], content["Ytest"][2:, :3], atol=1e-4)


@pytest.mark.parametrize(
    ("turns", "arm", "hand", "nail"),
    [
        ({}, [0, 3, 0], [0, 5, 0], [1, 5, 0]),
        # About x, then y, then z: up turns to z, to x, and up again; the nail's x turns to −z.
        ({"arm.rx": 90, "arm.ry": 90, "arm.rz": 90}, [0, 3, 0], [0, 5, 0], [0, 5, -1]),
        ({"arm.rx": 90}, [0, 0, 3], [0, 0, 5], [1, 0, 5]),
        # The hand's own x axis is the room's y: it turns about itself, and the nail with it.
        ({"hand.rx": 90}, [0, 3, 0], [0, 5, 0], [0, 5, -1]),
        ({"root.rz": 90}, [-3, 0, 0], [-5, 0, 0], [-5, 1, 0]),
    ],
)
def test_bones_turn_as_worked_out_by_hand(tmp_path, turns, arm, hand, nail):
    (tmp_path / "a.asf").write_text(ASF)
    skeleton = acclaim.read(tmp_path / "a.asf")
    channels = np.zeros((1, 10))
    for name, angle in turns.items():
        channels[0, skeleton.columns.index(name)] = angle
    channels[0, :3] = 10, 20, 30
    positions = skeleton.kinematics(channels)[0] - [10, 20, 30]
    np.testing.assert_allclose(positions, [[0, 0, 0], arm, hand, nail], atol=1e-12)


def write_bvh(path, frames, text=BVH):
    path.write_text(text + "\n".join(" ".join(map(str, frame)) for frame in frames))


def test_a_bvh_file_moves_as_worked_out_by_hand(tmp_path):
    write_bvh(tmp_path / "a.bvh", [[1, 2, 3, 0, 0, 0, 0], [0] * 7, [0, 0, 0, 90, 90, 90, 90]])
    file = bvh.read(tmp_path / "a.bvh")
    assert file.columns[2:4] == ("Hips.Zposition", "Hips.Zrotation")
    assert file.joints == ("Hips", "Knee", "Knee end")
    assert file.rate == pytest.approx(50)
    positions = file.kinematics(file.frames)
    np.testing.assert_allclose(positions[0], [[1, 7, 3], [2, 7, 3], [2, 5, 3]], atol=1e-12)
    # Z of the last frame turns what X turns of what Y turns: x to −z, to y, to −x.
    # The knee turns −y to x first, which goes the same way.
    np.testing.assert_allclose(positions[2], [[0, 5, 0], [-1, 5, 0], [-3, 5, 0]], atol=1e-12)


def test_bvh_files_are_thinned_unwrapped_and_split(tmp_path):
    for number in range(5):
        frames = RANDOM.normal(size=(3, 7))
        frames[:, 6] = 179, -179, -177
        write_bvh(tmp_path / f"{number}.bvh", frames)
    motions = data.load_sequences("bvh", data_dir=tmp_path, every=2, validation_share=0.2)
    assert [len(part) for part in motions.parts().values()] == [3, 1, 1]
    assert motions.test[0].shape == (2, 7)
    assert motions.frames_per_second == pytest.approx(25)
    np.testing.assert_allclose(motions.mean[6], 181, rtol=1e-6)  # 179 and 183
    assert motions.skeleton.positions(motions.test[0]).shape == (2, 3, 3)


def test_npz_files_keep_the_columns_that_change(tmp_path):
    for number in range(5):
        frames = RANDOM.normal(3, 2, (4 + number, 3))
        frames[:, 1] = 5
        np.savez(tmp_path / f"{number}.npz", frames=frames, columns=["a", "b", "c"])
    motions = data.load_sequences("npz", data_dir=tmp_path, frames_per_second=60.0)
    assert motions.columns == ("a", "c")
    assert (motions.frames_per_second, motions.skeleton) == (60, None)
    assert sorted(len(s) for part in motions.parts().values() for s in part) == [4, 5, 6, 7, 8]
    learnt = np.concatenate(motions.train)
    np.testing.assert_allclose([learnt.mean(0), learnt.std(0)], [[0, 0], [1, 1]], atol=1e-5)


def test_a_nan_is_named_before_it_spreads(tmp_path, walks):
    walks[1][7, 13] = np.nan
    write_walks(tmp_path, walks)
    message = (
        "motion.mat: walk 1 holds nan in frame 7, column 13 (left knee y), counted from 0: mend "
        "such frames, or cut the sequence there"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        data.load_sequences("walking", data_dir=tmp_path)
    frames = RANDOM.normal(size=(9, 10))
    frames[6, 2] = np.inf
    write_cmu35(tmp_path, Y=frames)
    message = r"sequence 1 of Y holds inf in frame 1, column 2 \(root\.tz\)"
    with pytest.raises(ValueError, match=message):
        data.load_sequences("cmu35", data_dir=tmp_path)
    np.savez(tmp_path / "a.npz", frames=np.array([[1.0, np.nan]]))
    with pytest.raises(ValueError, match=r"a\.npz holds nan in frame 0, column 1 \(column 1\)"):
        data.load_sequences("npz", data_dir=tmp_path)
    write_bvh(tmp_path / "a.bvh", [[0] * 7, [0] * 7, [0, 0, "nan", 0, 0, 0, 0]])
    with pytest.raises(ValueError, match=r"a\.bvh holds nan in frame 2, column 2 \(Hips.Zposition"):
        data.load_sequences("bvh", data_dir=tmp_path)


def test_other_walks_and_motions_are_named(tmp_path, walks):
    write_walks(tmp_path, [walks[0], walks[1], walks[2][:, :62]])
    message = "walk 2 has 62 columns, but there should be 108, from forward tilt to right wrist"
    with pytest.raises(ValueError, match=message):
        data.load_sequences("walking", data_dir=tmp_path)
    write_walks(tmp_path, walks[:2])
    message = (
        "motion.mat holds 2 walks of 230, 90 frames, but three are expected, the last 326 frames "
        "of the third to test: the walks that Taylor prepared are data/motion.mat of "
    )
    with pytest.raises(ValueError, match=message):
        data.load_sequences("walking", data_dir=tmp_path)
    write_cmu35(tmp_path, Y=RANDOM.normal(size=(9, 62)))
    message = (
        "holds Y of shape (9, 62) and lbls of shape (9, 2), but a row of 10 numbers and of a "
        "label for each frame are expected: the motions of CMU's subject 35 are in "
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        data.load_sequences("cmu35", data_dir=tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (ASF.replace("arm hand", "leg hand"), "(ValueError: hand hangs on nothing)"),
        (ASF.replace("length 2", ""), "(KeyError: 'length')"),
        (ASF.replace("angle deg", "angle rad"), "(ValueError: its angles are not in degrees)"),
        (ASF.replace("dof rx ry", "dof rx qy"), "(ValueError: arm moves by 'qy')"),
        ("", "(KeyError: ':root')"),
    ],
)
def test_a_damaged_skeleton_is_named(tmp_path, content, message):
    write_cmu35(tmp_path)
    (tmp_path / "35.asf").write_text(content)
    message = f"35.asf is damaged, or no Acclaim skeleton {message}: fetch it again"
    with pytest.raises(ValueError, match=re.escape(message)):
        data.load_sequences("cmu35", data_dir=tmp_path)
    (tmp_path / "35.asf").unlink()
    with pytest.raises(FileNotFoundError, match=r"35\.asf is missing: the motions of CMU's"):
        data.load_sequences("cmu35", data_dir=tmp_path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("HIERARCHY", "it has no part MOTION"),
        (BVH.replace("End Site", "End\nSite"), "it holds 14 numbers, but 3 frames of 7 are 21"),
        (BVH.replace("Frames: 3", "Frames 2"), "MOTION does not begin with Frames: and Frame Time"),
        (BVH.replace("1 Zrotation", "1 Wrotation"), "unknown channel 'Wrotation'"),
        (BVH.replace("}\nMOTION", "MOTION"), "HIERARCHY is not closed"),
        (BVH.replace("0.02", "0"), "its Frame Time is 0.0"),
    ],
)
def test_a_damaged_bvh_file_is_named(tmp_path, text, reason):
    write_bvh(tmp_path / "a.bvh", np.zeros((2 if "14" in reason else 3, 7)), text)
    message = f"a.bvh is damaged, or no BVH file ({reason}"
    with pytest.raises(ValueError, match=re.escape(message)):
        data.load_sequences("bvh", data_dir=tmp_path)


def test_bvh_files_of_two_rates_and_a_bad_step_are_named(tmp_path):
    write_bvh(tmp_path / "a.bvh", np.zeros((3, 7)))
    write_bvh(tmp_path / "b.bvh", np.zeros((3, 7)), BVH.replace("0.02", "0.04"))
    message = r"b\.bvh has other frames per second than a\.bvh \(25\.0\): keep files of one kind"
    with pytest.raises(ValueError, match=message):
        data.load_sequences("bvh", data_dir=tmp_path)
    with pytest.raises(ValueError, match="every=0: choose a whole number from 1"):
        data.load_sequences("bvh", data_dir=tmp_path, every=0)


def test_files_of_two_kinds_in_a_folder_are_named(tmp_path):
    np.savez(tmp_path / "a.npz", frames=np.ones((2, 2)), columns=["hip", "knee"])
    np.savez(tmp_path / "b.npz", frames=np.ones((2, 2)), columns=["hip", "foot"])
    message = r"b\.npz has other columns than a\.npz \(foot\): keep files of one kind in a folder"
    with pytest.raises(ValueError, match=message):
        data.load_sequences("npz", data_dir=tmp_path)


def test_odd_npz_files_are_named(tmp_path):
    path = tmp_path / "a.npz"
    for arrays, message in (
        ({"x": np.ones(3)}, "holds x of float64, but numbers `frames` (frames, units) are"),
        ({"frames": np.ones((0, 2))}, "has shape (0, 2), but a sequence is (frames, units) with"),
        ({"frames": np.ones((2, 2)), "columns": ["a"]}, "has 2 columns, but there should be 1"),
    ):
        np.savez(path, **arrays)
        with pytest.raises(ValueError, match=re.escape(f"{path} {message}")):
            data.load_sequences("npz", data_dir=tmp_path)
    path.write_bytes(b"PK no archive")
    with pytest.raises(ValueError, match=r"a\.npz is damaged, or no \.npz file \(.+\): write it"):
        data.load_sequences("npz", data_dir=tmp_path)


def test_motion_that_does_not_move_is_refused(tmp_path):
    for name in "ab":
        np.savez(tmp_path / f"{name}.npz", frames=np.ones((2, 2)))
    with pytest.raises(ValueError, match="npz: no column changes in the training sequences"):
        data.load_sequences("npz", data_dir=tmp_path, test_share=0.5)


def test_joints_hang_on_their_parents():
    """Two bones of length 1, the first turned by a right angle about z, the second back."""
    quarter = skeletons.euler("z", np.array([[90.0], [-90.0], [0.0]]))[None]
    offsets = np.array([[[9.0, 9.0, 9.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
    root = np.array([[1.0, 2.0, 3.0]])
    positions = skeletons.chain((0, 0, 1), root, offsets, quarter)
    np.testing.assert_allclose(positions[0], [[1, 2, 3], [1, 3, 3], [1, 4, 3]], atol=1e-12)
