"""The training script: 20 steps, interrupted and resumed, the export, and what the crops and
targets are made of.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("cv2")
pytest.importorskip("edt")
sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))

import train_nuclei  # noqa: E402
from nuclei import banks, data, network, score, section, targets, tissue  # noqa: E402

SMALL = ["--crop", "64", "--batch", "2", "--pool", "3", "--workers", "0", "--threads", "1"]


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_twenty_steps_resumed_and_exported(tmp_path, capsys):
    through = tmp_path / "through"
    train_nuclei.main(["--out", str(through), "--steps", "20", *SMALL])
    broken = tmp_path / "broken"
    train_nuclei.main(["--out", str(broken), "--steps", "20", "--until-step", "9", *SMALL])
    train_nuclei.main(["--out", str(broken), "--steps", "20", *SMALL])
    states = [
        torch.load(folder / "checkpoint.pt", weights_only=True) for folder in (through, broken)
    ]
    assert [state["step"] for state in states] == [20, 20]
    for name, value in states[0]["average"].items():
        torch.testing.assert_close(states[1]["average"][name], value, rtol=1e-3, atol=1e-4)

    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    model = tmp_path / "nuclei.onnx"
    train_nuclei.main(["--out", str(through), "--export", str(model)])
    assert model.stat().st_size < 8e6
    net = network.UNet()
    net.load_state_dict(states[0]["average"])
    image = np.random.default_rng(0).uniform(0, 1, (1, 1, 96, 160)).astype(np.float32)
    (maps,) = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).run(
        None, {"image": image}
    )
    with torch.no_grad():
        expected = torch.sigmoid(net.eval()(torch.from_numpy(image))).numpy()
    assert maps.shape == (1, 3, 96, 160)
    np.testing.assert_allclose(maps, expected, atol=2e-5)


def test_training_begins_with_the_shipped_weights():
    """The folded network, loaded back, gives the shipped maps with BatchNorm in either mode;
    another architecture is refused.
    """
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    from ifquant.nuclei.unet import MODEL

    images = np.stack([data.normalised(data.tissue_field(number, 160)[0]) for number in range(2)])[
        :, None
    ]
    (maps,) = onnxruntime.InferenceSession(MODEL, providers=["CPUExecutionProvider"]).run(
        None, {"image": images}
    )
    net = network.UNet()
    network.start_from_onnx(net, MODEL, torch.from_numpy(images))
    for mode in (net.train(), net.eval()):
        with torch.no_grad():
            np.testing.assert_allclose(
                torch.sigmoid(mode(torch.from_numpy(images))).numpy(), maps, atol=1e-4
            )
    with pytest.raises(ValueError, match="architecture"):
        network.start_from_onnx(network.UNet((4, 8, 8, 8, 8)), MODEL, torch.from_numpy(images))


def test_the_half_network_takes_over_what_the_full_one_learnt():
    """Levels that both have are copied, channels that one has on top are not; weights survive half
    precision; maps are of full size.
    """
    full, half = network.UNet(), network.UNet(**network.NETWORKS["half"])
    network.transplant(full, half)
    theirs, ours = full.state_dict(), half.state_dict()
    torch.testing.assert_close(ours["down.1.0.weight"][:, :24], theirs["down.2.0.weight"])
    torch.testing.assert_close(ours["down.3.3.weight"], theirs["down.4.3.weight"])
    torch.testing.assert_close(ours["up.2.0.weight"][:24, 32:56], theirs["up.2.0.weight"][:, 24:])
    with torch.no_grad():
        assert half.eval()(torch.zeros(1, 1, 32, 48)).shape == (1, 3, 32, 48)
    assert network.net_of(ours).shuffle == 2
    assert network.net_of(theirs).shuffle == 1


def test_weights_are_kept_in_half_precision(tmp_path):
    net, again = (network.UNet(**network.NETWORKS["half"]) for _ in range(2))
    network.save_weights(net, tmp_path / "weights.npz")
    assert (tmp_path / "weights.npz").stat().st_size < 3e6
    network.load_weights(again, tmp_path / "weights.npz")
    for name, value in net.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, rtol=1e-3, atol=1e-4)
    with pytest.raises(ValueError, match="architecture"):
        network.load_weights(network.UNet(), tmp_path / "weights.npz")


def test_no_pixel_beyond_the_reach_changes_the_half_network():
    """The reach that inference allows for (`ifquant.nuclei.unet`) holds for the half network too,
    wherever the pixel lies on its grid.
    """
    unet = pytest.importorskip("ifquant.nuclei.unet")
    net = network.UNet((2, 2, 2, 2), shuffle=2).double().eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(0.05)
        image = 1 + torch.rand(1, 1, 272, 272, dtype=torch.float64)
        before = net(image)
        for row in range(128, 144):
            changed = image.clone()
            changed[0, 0, row] += 5
            rows = ((net(changed) - before).abs() > 1e-15).any(1)[0].any(1).nonzero()
            assert int((rows - row).abs().max()) <= unet.REACH_PX


def test_a_few_steps_learn():
    """Forty steps on one batch must bring the loss down by a third: the network, the loss and the
    targets fit together.
    """
    torch.manual_seed(0)
    crops = data.Crops([], seed=5, start=0, batch=4, size=64, pool=3)
    images, maps = next(iter(crops))
    net = network.UNet((4, 8, 8, 8, 8))
    optimizer = torch.optim.AdamW(net.parameters(), 1e-2)
    errors = []
    for _ in range(40):
        error = targets.loss(net(images), maps)
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        errors.append(error.item())
    assert errors[-1] < 0.67 * errors[0]


def test_crops_are_a_function_of_seed_step_and_place():
    real = [(tissue.field(3, 128)[0], tissue.field(3, 128)[1])]
    one, other = (
        data.Crops(real, seed=5, start=start, batch=3, size=64, pool=2) for start in (0, 4)
    )
    batches = iter(one)
    for _ in range(4):
        next(batches)
    for ours, theirs in zip(next(batches), next(iter(other)), strict=True):
        assert torch.equal(ours, theirs)
    image, maps = next(batches)
    assert image.shape == (3, 1, 64, 64)
    assert maps.shape == (3, 3, 64, 64)
    assert float(image.min()) >= data.CLIP[0]
    assert float(image.max()) <= data.CLIP[1]


def test_the_inference_clips_as_the_training_does():
    unet = pytest.importorskip("ifquant.nuclei.unet")
    assert unet.CLIP == data.CLIP


def test_targets_of_two_touching_squares():
    labels = np.zeros((20, 30), np.int32)
    labels[5:15, 5:15], labels[5:15, 15:25] = 1, 2
    foreground, distance, contact = targets.target_maps(labels)
    assert foreground.sum() == 200
    assert distance.max() == 1
    assert distance[9, 9] > 0.9 > 0.3 > distance[9, 14]
    assert set(np.flatnonzero(contact[9])) == {13, 14, 15, 16}
    assert not targets.target_maps(np.zeros((4, 4), np.int32)).any()


def test_fields_have_contacts_and_are_repeatable():
    image, labels = tissue.field(11)
    again = tissue.field(11)
    assert np.array_equal(image, again[0])
    assert np.array_equal(labels, again[1])
    assert labels.max() > 5
    assert image[labels > 0].mean() > 2 * image[labels == 0].mean()
    areas = [np.bincount(tissue.field(seed)[1].ravel())[1:] for seed in range(12)]
    assert min(area.min() for area in areas if area.size) >= 16
    assert any(targets.target_maps(tissue.field(seed)[1])[2].any() for seed in range(4))


@pytest.mark.parametrize("kind", sorted(section.FIELDS))
def test_fields_of_thick_sections_are_repeatable(kind):
    image, labels = section.FIELDS[kind](7, 160)
    again = section.FIELDS[kind](7, 160)
    assert np.array_equal(image, again[0])
    assert np.array_equal(labels, again[1])
    assert np.isfinite(image).all()
    assert (labels.max() > 0) == (kind != "clutter")


def test_shares_make_a_whole_and_open_sources_are_fewer():
    assert sum(banks.SHARES.values()) == pytest.approx(1)
    only_simulated = banks.all_banks(None, licences="all", seed=1, pool=2, cache=None)
    assert sum(bank.share for bank in only_simulated) == pytest.approx(1)
    assert set(banks.OPEN) < {"nuclei_dsb2018", *banks.MORE} < set(banks.SHARES)
    assert set(banks.HELD_OUT) == set(banks.MORE)


def test_held_out_images_of_a_source_are_not_trained_on(tmp_path):
    import tifffile

    names = [("a_mouse1", "train"), ("E2F3A_EdU_mouse1_image1", "train"), ("b_mouse3", "val")]
    lines = ["source,name,split,pixel_size_um,pixel_size_note"]
    for name, split in names:
        lines.append(f"pecot_intestine,{name},{split},,not recorded; about 0.325 if so")
        for kind in ("images", "masks"):
            (tmp_path / "pecot_intestine" / kind).mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(
                tmp_path / "pecot_intestine" / kind / f"{name}.tif", np.ones((8, 8), np.uint16)
            )
    (tmp_path / "manifest.csv").write_text("\n".join(lines) + "\n")
    parts = {
        part: banks.read_source(tmp_path, "pecot_intestine", part)
        for part in ("train", "tune", "val")
    }
    assert {part: [name for name, *_ in found] for part, found in parts.items()} == {
        "train": ["a_mouse1"],
        "tune": ["E2F3A_EdU_mouse1_image1"],
        "val": ["b_mouse3"],
    }
    assert parts["val"][0][2] == 0.325


def test_no_held_out_group_is_trained_on(tmp_path):
    rows = [{"group": str(i // 3), "split": "train" if i % 4 else "val"} for i in range(400)]
    held = data.held_out_groups(rows)
    images = sum(row["split"] == "train" and row["group"] in held for row in rows)
    assert 30 <= images <= 35
    assert held == data.held_out_groups(rows)


def test_pasting_keeps_labels_whole():
    rng = np.random.default_rng(0)
    below, above = tissue.field(1, 160), tissue.field(2, 160)
    image, labels = data.paste(rng, below, above)
    assert image.shape == (160, 160)
    assert labels.max() >= below[1].max()
    kept = below[1] > 0
    assert (labels[kept] > 0).all()


def test_scores_by_hand():
    truth = np.zeros((10, 40), np.int32)
    truth[:, :10], truth[:, 20:30] = 1, 2
    found = np.zeros_like(truth)
    found[:, :8], found[:, 35:] = 4, 9
    table = score.counts(found, truth)
    assert table[0].tolist() == [1, 1, 1]
    assert table[4].tolist() == [0, 2, 2]
    per_image, pooled = score.average_precision([table, score.counts(truth, truth)])
    assert per_image[0] == pytest.approx((1 / 3 + 1) / 2)
    assert pooled[0] == pytest.approx(3 / 5)
