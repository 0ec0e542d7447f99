"""Networks run layer by layer, and every layer's counts are its formulas."""

from dataclasses import replace

import naive
import numba
import numpy as np
import pytest

from jitconv import cli, networks
from jitconv.networks import Layer, Network

SMALL = [
    networks.mobilenet_v1(0.125, 32),
    networks.squeezenet("1.1", 40),
    networks.context_module(2, "large", 10),
    Network("up", (4, 3, 2), networks.dcgan_generator().layers[-2:]),
    Network(
        "grouped", (4, 9, 7), [Layer("a", "conv", 6, 3, 2, ((0, 1), (1, 0)), groups=2, bias=True)]
    ),
]


@pytest.mark.parametrize("network", SMALL, ids=lambda network: network.name)
def test_measured_is_the_formula_in_every_layer(network):
    done = network.run()
    assert done.agrees
    assert len(done.rows) == sum(bool(row.costs) for row in network.rows)
    assert done.multiplies - done.multiplies_on_padding == network.multiplies_in_bounds
    assert sum(done.by_kind().values()) == done.multiplies
    assert done.output.shape == network.rows[-1].output_shape
    assert np.isfinite(done.output).all()
    text = repr(done).splitlines()
    assert text[0] == network.title
    assert text[-3].split()[:2] == ["total", f"{network.multiplies:,}"]
    assert done._repr_html_().count("<tr>") == len(done.rows) + 2
    assert done.to_markdown().count("\n| ") == len(done.rows) + 3
    assert [row["multiplies"] for row in done.to_dict()["layers"]] == [
        ran.report.multiplies for ran in done.rows
    ]


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="takes too long in plain Python")
@pytest.mark.parametrize(
    "build", [networks.mobilenet_v1, networks.resnet50, networks.shufflenet_v1]
)
def test_at_full_size(build):
    done = build().run()
    assert done.agrees
    assert done.output.shape == (1000, 1, 1)
    if build is networks.mobilenet_v1:  # Howard et al., Table 2: 94.86 % of the multiplies in 1×1
        share = done.by_kind()["pointwise"] / done.multiplies
        assert round(100 * share, 3) == 94.857


def test_what_ceil_adds_is_not_in_the_mean():
    x = np.arange(1.0, 6.0).reshape(1, 1, 5)
    layer = Layer("p", "average pool", kernel_size=(1, 2), stride=2, padding=((0, 0), (1, 0)))
    whole = Network("p", (1, 1, 5), [layer]).run(image=x)
    assert whole.output.tolist() == [[[0.5, 2.5, 4.5]]]  # the padding counts
    more = Network("p", (1, 1, 5), [replace(layer, padding=0, ceil=True)]).run(image=x)
    assert more.output.tolist() == [[[1.5, 3.5, 5]]]


def test_a_wrong_formula_is_seen():
    done = SMALL[-1].run()
    done.rows[0].row.costs["in bounds"] += 1
    try:
        assert not done.agrees
        assert " ✗ " in str(done)
    finally:
        done.rows[0].row.costs["in bounds"] -= 1


def test_layers_without_weights():
    x = np.arange(32.0).reshape(2, 4, 4)
    layers = [
        Layer("max", "max pool", 0, 3, 2, ceil=True),
        Layer("mean", "average pool", 0, 2, 2, inputs=("",)),
        Layer("both", "concatenate", inputs=("max", "mean")),
        Layer("mixed", "shuffle", groups=2),
        Layer("sum", "add", inputs=("mixed", "both")),
        Layer("whole", "global average pool"),
    ]
    largest = np.array([[[10, 11], [14, 15]], [[26, 27], [30, 31]]])
    mean = np.array([[[2.5, 4.5], [10.5, 12.5]], [[18.5, 20.5], [26.5, 28.5]]])
    both = np.concatenate([largest, mean])
    outputs = [largest, mean, both, both[[0, 2, 1, 3]], both + both[[0, 2, 1, 3]]]
    for number, wanted in enumerate(outputs, 1):
        np.testing.assert_array_equal(
            Network("n", x.shape, layers[:number]).run(image=x).output, wanted
        )
    done = Network("n", x.shape, layers).run(image=x)
    assert done.agrees
    assert str(done).splitlines()[2].split()[:4] == ["total", "0", "0", "0"]
    with pytest.raises(ValueError, match="network: n has no convolution to draw"):
        done.network.plot()
    whole = done.output
    np.testing.assert_allclose(whole[:, 0, 0], outputs[-1].mean(axis=(1, 2)))


def test_a_chain_of_convolutions_is_the_slow_one():
    layers = [
        Layer("a", "conv", 3, 3, 2, 1, bias=True, relu=True),
        Layer("b", "conv", 3, 3, padding=1, groups=3),
        Layer("c", "transposed", 2, 3, 2, 1, output_padding=1),
        Layer("d", "linear", 4, bias=True),
    ]
    network = Network("chain", (2, 7, 6), layers)
    x = np.random.default_rng(1).normal(size=(2, 7, 6)).astype(np.float32)
    rng = np.random.default_rng(5)

    def draw(*shape, fan_in, bias=0):
        weight = rng.standard_normal(shape, np.float32) * np.float32((2 / fan_in) ** 0.5)
        return weight, rng.standard_normal(bias, np.float32) if bias else None

    weight, bias = draw(3, 2, 3, 3, fan_in=18, bias=3)
    y = np.maximum(
        naive.conv2d(x[np.newaxis], weight, bias, stride=(2, 2), padding=((1, 1), (1, 1))), 0
    )
    weight, _ = draw(3, 1, 3, 3, fan_in=9)
    y = naive.conv2d(y, weight, None, padding=((1, 1), (1, 1)), groups=3)
    fan_in = network.rows[2].multiplies / (2 * 8 * 6)
    weight, _ = draw(3, 2, 3, 3, fan_in=fan_in)
    y = naive.conv_transpose2d(
        y, weight, None, stride=(2, 2), padding=((1, 1), (1, 1)), output_padding=(1, 1)
    )
    weight, bias = draw(4, y.size, 1, 1, fan_in=y.size, bias=4)
    wanted = weight[:, :, 0, 0] @ y.ravel() + bias
    np.testing.assert_allclose(network.run(5, x).output[:, 0, 0], wanted, rtol=1e-4, atol=1e-4)


def test_the_same_seed_gives_the_same_output():
    network = SMALL[-1]
    np.testing.assert_array_equal(network.run(3).output, network.run(3).output)
    assert (network.run(3).output != network.run(4).output).any()
    assert network.run(image=np.ones((4, 9, 7))).output.dtype == np.float64


def test_what_cannot_run():
    with pytest.raises(
        ValueError, match=r"image: must be \(4, 9, 7\), as the network, got \(4, 9\)"
    ):
        SMALL[-1].run(image=np.ones((4, 9)))
    with pytest.raises(ValueError, match="seed: must be at least 0"):
        SMALL[-1].run(-1)


def test_networks_on_the_command_line(capsys, tmp_path, monkeypatch):
    assert cli.main(["networks", "--save", str(tmp_path / "all.png")]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name, build in networks.CATALOGUE.items():
        row = next(row.split() for row in lines if row.startswith(f"{name} "))
        assert row[4] == f"{build().multiplies:,}"
    assert cli.main(["networks", "squeezenet_1.1", "--save", str(tmp_path / "one.png")]) == 0
    shown = capsys.readouterr().out
    assert str(networks.squeezenet("1.1")) in shown
    assert str(networks.squeezenet("1.1").reconcile()) in shown
    monkeypatch.setitem(networks.CATALOGUE, "small", lambda: SMALL[0])
    assert cli.main(["networks", "small", "--run", "--seed", "1"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == SMALL[0].title
    assert sum(" ✓ " in row for row in shown) == 29
    assert shown[-1].startswith("measured shares: pointwise")
    assert {path.name for path in tmp_path.iterdir()} == {"all.png", "one.png"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--run"], "--run: needs a network"),
        (["vgg"], "network: must be one of mobilenet_v1"),
        (["fsrcnn", "--run", "--seed", "-1"], "seed: must be at least 0"),
        (["--save", "figure.txt"], "--save: figure.txt must end in one of"),
    ],
)
def test_mistakes_on_the_command_line(arguments, message, capsys):
    with pytest.raises(SystemExit):
        cli.main(["networks", *arguments])
    assert message in capsys.readouterr().err
