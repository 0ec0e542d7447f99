"""Layer tables give the integers that the papers and libraries print."""

from dataclasses import replace
from fractions import Fraction

import pytest

from jitconv import formulas, networks
from jitconv.networks import Layer, Network
from jitconv.networks.published import _readings
from jitconv.shapes import window

# weights; parameters; with running statistics; multiplies of convolutions; and of all layers
TOTALS = [
    # Howard et al., arXiv:1704.04861, Table 4: 569 M, 4.2 M; Keras 4,253,864
    (networks.mobilenet_v1(), 4_209_088, 4_231_976, 4_253_864, 567_716_352, 568_740_352),
    # the same table: 4866 M without the fully connected layer, 29.3 M
    (networks.mobilenet_v1(separable=False), 29_281_120, None, None, 4_866_269_184, 4_867_293_184),
    # torchvision: 1,248,424 parameters, 0.819 GFLOPS; 1,235,496 and 0.349
    (networks.squeezenet("1.0"), 1_244_448, 1_248_424, 1_248_424, 818_924_576, 818_924_576),
    (networks.squeezenet("1.1"), 1_231_552, 1_235_496, 1_235_496, 349_151_936, 349_151_936),
    # torchvision: 25,557,032 and 4.089
    (networks.resnet50(), 25_502_912, 25_557_032, 25_610_152, 4_087_136_256, 4_089_184_256),
    # torchvision: 25,028,904 and 4.23; Keras 25,097,128
    (networks.resnext50(), 24_959_680, 25_028_904, 25_097_128, 4_228_431_872, 4_230_479_872),
    # torchvision: 6,624,904 and 1.498
    (networks.inception_v1(3), 6_609_344, 6_624_904, 6_639_464, 1_497_352_192, 1_498_376_192),
    # Caffe's model: 6,998,552
    (networks.inception_v1(), 6_990_272, 6_998_552, 6_998_552, 1_581_647_872, 1_582_671_872),
    # Chollet, arXiv:1610.02357, Table 3: 22,855,952; Keras 22,910,480
    (networks.xception(), 22_800_424, 22_855_952, 22_910_480, 8_355_355_496, 8_357_403_496),
]


@pytest.mark.parametrize(("network", "weights", "learned", "held", "convolutions", "all_"), TOTALS)
def test_totals(network, weights, learned, held, convolutions, all_):
    assert network.weights == weights
    assert learned is None or network.parameters == learned
    assert held is None or network.parameters_with_running_stats == held
    assert network.conv_multiplies == convolutions
    assert network.multiplies == all_


def test_mobilenet_by_kind():
    """Howard et al., Table 2: 94.86 %, 3.06 %, 1.19 %, 0.18 % of multiplies; the third is a misprint of 1.91 %."""
    network = networks.mobilenet_v1()
    kinds = network.by_kind()
    assert kinds == {
        "pointwise": (539_492_352, 3_139_584),
        "depthwise": (17_385_984, 44_640),
        "standard": (10_838_016, 864),
        "linear": (1_024_000, 1_024_000),
    }
    shares = [round(100 * multiplies / network.multiplies, 2) for multiplies, _ in kinds.values()]
    assert shares == [94.86, 3.06, 1.91, 0.18]
    shares = [round(100 * weights / network.weights, 2) for _, weights in kinds.values()]
    assert shares == [74.59, 1.06, 0.02, 24.33]


def block(M, size, width=1.0, separable=True):
    C, M = int(M * width), int(M * width)
    pair = Layer("dw", "conv", C, 3, 1, 1, groups=C), Layer("pw", "conv", M)
    whole = (Layer("conv", "conv", M, 3, 1, 1),)
    return Network("block", (C, size, size), pair if separable else whole)


@pytest.mark.parametrize(
    ("network", "multiplies", "weights"),
    [
        (block(512, 14, separable=False), 462_422_016, 2_359_296),
        (block(512, 14), 52_283_392, 266_752),
        (block(512, 14, 0.75), 29_578_752, 150_912),
        (block(512, 10, 0.75), 15_091_200, 150_912),
    ],
)
def test_mobilenet_table_3(network, multiplies, weights):
    """Howard et al., Table 3: 462 M, 52.3 M, 29.6 M, 15.1 M; 2.36 M, 0.27 M, 0.15 M, 0.15 M."""
    assert (network.multiplies, network.weights) == (multiplies, weights)


def test_squeezenet_layer_by_layer():
    """Iandola et al., arXiv:1602.07360, Table 1: parameters before pruning."""
    found: dict[str, int] = {}
    for row in networks.squeezenet().rows:
        part = row.layer.name.split("/")[0]
        found[part] = found.get(part, 0) + row.parameters
    assert [count for count in found.values() if count] == [
        14_208, 11_920, 12_432, 45_344, 49_440, 104_880, 111_024, 188_992, 197_184, 513_000
    ]  # fmt: skip


def test_squeezenet_at_227():
    """Its authors print 1.72 GFLOPS: two a multiply, at 227, with conv10 padded; ShuffleNet's Table 6 833 M."""
    network = networks.squeezenet(resolution=227)
    assert network.multiplies == 832_667_936
    padded = [replace(v, padding=1) if v.name == "conv10" else v for v in network.layers]
    assert Network("padded", (3, 227, 227), padded).multiplies == 861_339_936


def test_inception_row_by_row():
    """Szegedy et al., arXiv:1409.4842, Table 1; its first row is printed for a factored 7×1 and 1×7 kernel."""
    found: dict[str, list[int]] = {}
    for row in networks.inception_v1().rows:
        weights, multiplies = found.setdefault(row.layer.name.split("/")[0], [0, 0])
        found[row.layer.name.split("/")[0]] = [weights + row.weights, multiplies + row.multiplies]
    assert {name: tuple(counts) for name, counts in found.items() if any(counts)} == {
        "conv1": (9_408, 118_013_952),
        "conv2": (114_688, 359_661_568),
        "3a": (163_328, 128_049_152),
        "3b": (388_096, 304_267_264),
        "4a": (375_552, 73_608_192),
        "4b": (448_512, 87_908_352),
        "4c": (509_440, 99_850_240),
        "4d": (604_672, 118_515_712),
        "4e": (867_328, 169_996_288),
        "5a": (1_042_432, 51_079_168),
        "5b": (1_442_816, 70_697_984),
        "fc": (1_024_000, 1_024_000),
    }
    # the printed 2.7K and 34M: both factors with 64 outputs from 3 channels, at the output's size
    assert (7 + 7) * 3 * 64 == 2_688
    assert 2_688 * 112 * 112 == 33_718_272
    saved = 118_013_952 - 33_718_272
    assert saved == networks.inception_v1().multiplies - networks.inception_v1(3).multiplies


@pytest.mark.parametrize(("kernel", "parameters"), [(5, 13_378_280), (3, 13_004_888)])
def test_inception_with_auxiliary_heads(kernel, parameters):
    """Two heads, on 4a and 4d: average pooling 5×5/3, 1×1 to 128, 1024, 1000."""
    options = {"bias": True} if kernel == 5 else {"norm": True}
    layers = [
        Layer("pool", "average pool", 0, 5, 3),
        Layer("conv", "conv", 128, **options),
        Layer("fc1", "linear", 1024, bias=True),
        Layer("fc2", "linear", 1000, bias=True),
    ]
    heads = [Network("head", (channels, 14, 14), layers) for channels in (512, 528)]
    total = networks.inception_v1(kernel).parameters + sum(head.parameters for head in heads)
    assert total == parameters


def test_xception_by_kind():
    """Chollet, Figure 5: 34 separable, 2 plain and 4 residual convolutions."""
    kinds = networks.xception().by_kind()
    assert kinds["depthwise"] == (132_190_344, 207_432)
    assert kinds["pointwise"] == (7_805_686_400, 20_525_696)
    assert kinds["standard"] == (417_478_752, 19_296)
    assert kinds["linear"] == (2_048_000, 2_048_000)


@pytest.mark.parametrize(
    ("depth", "first", "later"),
    [
        (50, 3_857_973_248, 4_089_184_256),
        (101, 7_570_194_432, 7_801_405_440),
        (152, 11_282_415_616, 11_513_626_624),
    ],
)
def test_resnet_with_both_places_of_its_strides(depth, first, later):
    """He et al., arXiv:1512.03385, Table 1: 3.8, 7.6, 11.3 G; torchvision 4.089, 7.801, 11.514."""
    assert networks.resnet(depth, stride_on="1×1").multiplies == first
    assert networks.resnet(depth).multiplies == later


def test_resnext_by_kind():
    kinds = networks.resnext50().by_kind()
    assert kinds["grouped"] == (231_211_008, 1_414_656)
    assert kinds["pointwise"] == (3_879_206_912, 21_487_616)
    assert kinds["standard"] == (118_013_952, 9_408)


def test_the_context_module_sees_more_with_every_layer():
    """Yu and Koltun, arXiv:1511.07122, Table 1: 3, 5, 9, 17, 33, 65, 67, 67."""
    network = networks.context_module(21)
    fields = [row.receptive_field for row in network.rows]
    assert fields == [3, 5, 9, 17, 33, 65, 67, 67]
    assert (network.weights, network.parameters) == (28_224, 28_224 + 168)
    large = networks.context_module(21, "large")
    assert [row.receptive_field for row in large.rows] == fields


def test_branches_see_together_what_either_sees():
    """One looks up and left, the other down and right: two pixels beyond the middle each."""
    branches = [
        Layer("a", channels=2, kernel_size=3, padding=((2, 0), (2, 0))),
        Layer("b", channels=2, kernel_size=3, padding=((0, 2), (0, 2)), inputs=("",)),
        Layer("c", "add", inputs=("a", "b")),
        Layer("d", channels=1, kernel_size=2, stride=2),
        Layer("e", channels=1, kernel_size=(2, 1)),
    ]
    network = Network("both", (1, 8, 8), branches)
    assert [row.receptive_field for row in network.rows] == [3, 3, 5, 6, None]


def test_ceil_starts_no_window_beyond_the_image():
    """As in PyTorch: of 17 pixels with their padding, the ninth window would begin on the 17th."""
    pools = {"kernel_size": 2, "stride": 2, "padding": 1, "ceil": True}
    for kind in ("average pool", "max pool"):
        assert Network("p", (1, 15, 10), [Layer("p", kind, **pools)]).rows[0].output_shape == (
            1,
            8,
            6,
        )


@pytest.mark.parametrize(
    ("G", "mask", "parameters"), [(1, 0, 82_962), (1, 1, 124_443), (4, 0, 331_848)]
)
def test_what_makes_offsets(G, mask, parameters):
    """Dai et al., arXiv:1703.06211; Zhu et al., arXiv:1811.11168: 2·G·K² channels, 3·G·K² with a mask."""
    branch = Layer("offsets", "conv", (2 + mask) * G * 9, 3, 1, 1, bias=True)
    assert Network("branch", (512, 7, 7), [branch]).parameters == parameters
    costs = formulas.deformable(
        1,
        512,
        512,
        window(7, 3, padding=1),
        samples=0,
        offset_groups=G,
        mask=bool(mask),
        layer=True,
    )
    assert costs["parameters"].value == 512 * 512 * 9 + parameters - branch.channels


@pytest.mark.parametrize("N", [64, 128, 256, 512, 1024])
def test_the_ratio_of_a_depthwise_separable_layer(N):
    """Howard et al., section 3.1: 1/N + 1/K²."""
    ratio = Fraction(block(N, 14).multiplies, block(N, 14, separable=False).multiplies)
    assert ratio == Fraction(1, N) + Fraction(1, 9)
    printed = {64: 7.890, 128: 8.409, 256: 8.694, 512: 8.845, 1024: 8.922}
    assert round(float(1 / ratio), 3) == printed[N]


@pytest.mark.parametrize("groups", [1, 2, 3, 4, 8])
def test_shufflenet_shapes(groups):
    """Zhang et al., arXiv:1707.01083, Table 1: sizes, and widths doubled at every stage."""
    shapes = {row.layer.name: row.output_shape for row in networks.shufflenet_v1(groups).rows}
    width = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}[groups]
    assert shapes["stage2_4"] == (width, 28, 28)
    assert shapes["stage3_8"] == (2 * width, 14, 14)
    assert shapes["stage4_4"] == (4 * width, 7, 7)


def test_other_shapes():
    assert networks.mobilenet_v1(0.25, 128).rows[-3].output_shape == (256, 4, 4)
    assert networks.alexnet().rows[-4].output_shape == (256, 6, 6)
    assert networks.dcgan_generator().rows[-1].output_shape == (3, 64, 64)
    assert [networks.fsrcnn(s).rows[-1].output_shape[1:] for s in (2, 3, 4)] == [
        (720, 1280), (720, 1278), (720, 1280)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([], "layers: must hold at least one"),
        ([Layer("a", "sum")], "a: operation: must be one of conv"),
        ([Layer("a", "conv")], "a: channels: must be at least 1, got 0"),
        ([Layer("a", "conv", 2), Layer("a", "conv", 2)], "'a': must be a name of its own"),
        ([Layer("a", "conv", 2, inputs=("b",))], "a: reads 'b', which is no layer above it"),
        ([Layer("a", "conv", 2, 9)], "a: .*9"),
        ([Layer("a", "conv", 3, groups=2)], "a: groups: 2 does not divide 3, the input"),
        ([Layer("a", "shuffle", groups=2)], "a: groups"),
        ([Layer("a", "max pool", 0, 2, dilation=2)], "a: dilation: max pool takes none"),
        ([Layer("a", "add", norm=True)], "a: norm: add takes none"),
        (
            [Layer("a", "conv", 2), Layer("b", "add", inputs=("a", ""))],
            "b: inputs: must be of one size",
        ),
        (
            [Layer("a", "conv", 2), Layer("b", "conv", 2, inputs=("a", ""))],
            "b: inputs: must be one",
        ),
    ],
)
def test_what_does_not_fit_is_named(layers, message):
    with pytest.raises(ValueError, match=message):
        Network("wrong", (3, 5, 5), layers)


def test_what_is_no_network():
    with pytest.raises(ValueError, match=r"input_shape: must be \(C, H, W\), got 8"):
        Network("wrong", 8, [Layer("a", "conv", 2)])
    with pytest.raises(ValueError, match="input_shape: must be at least 1, got 0"):
        Network("wrong", (3, 0, 8), [Layer("a", "conv", 2)])
    with pytest.raises(TypeError, match="layers: must be Layers"):
        Network("wrong", (3, 8, 8), ["a"])
    with pytest.raises(TypeError, match="with a tuple of inputs"):
        Network("wrong", (3, 8, 8), [Layer("a", "conv", 2, inputs="image")])
    with pytest.raises(TypeError, match="a: channels: must be an integer, got '2'"):
        Network("wrong", (3, 8, 8), [Layer("a", "conv", "2")])


@pytest.mark.parametrize(
    ("build", "argument", "message"),
    [
        (networks.mobilenet_v1, 0, "width: must be a number above 0"),
        (networks.mobilenet_v1, float("nan"), "width: must be a number above 0"),
        (networks.mobilenet_v1, 0.01, "conv1: channels: must be at least 1, got 0"),
        (networks.squeezenet, "1.2", "version: must be"),
        (networks.inception_v1, 4, "kernel: must be 5 or 3"),
        (networks.resnet, 34, "depth: must be 50, 101 or 152"),
        (networks.alexnet, 5, "conv2: groups: 5 does not divide 96"),
        (networks.shufflenet_v1, 5, "groups: must be 1, 2, 3, 4 or 8"),
        (networks.fsrcnn, 0, "scale: must be at least 1"),
        (networks.context_module, 0, "channels: must be at least 1"),
    ],
)
def test_networks_that_no_paper_has(build, argument, message):
    with pytest.raises(ValueError, match=message):
        build(argument)


def test_it_shows_itself():
    network = networks.squeezenet()
    text = str(network)
    assert text.splitlines()[0].endswith("1,248,424 parameters, 818,924,576 multiplies")
    assert text.splitlines()[-1].split()[:2] == ["total", "1,248,424"]
    assert network.to_markdown().count("\n| ") == len(network.rows) + 3
    assert network._repr_html_().count("<tr>") == len(network.rows) + 2
    assert sum(row["parameters"] for row in network.to_dict()["layers"]) == network.parameters


def test_printed_figures_meet_their_conventions():
    """Every figure that a convention gives, and the two that are known to be misprints."""
    rows = {(r.printed.text, r.printed.part): r for r in networks.mobilenet_v1().reconcile()}
    assert rows["569 M", ""][1:] == (568_740_352, "multiplies")
    assert rows["94.86 %", "pointwise"].exact == Fraction(539_492_352, 568_740_352)
    assert rows["1.19 %", "standard"].exact is None
    assert [row.printed.text for row in rows.values() if row.exact is None] == ["1.19 %"]
    rows = {r.printed.text: r for r in networks.squeezenet().reconcile()}
    assert rows["1.72 G"].exact == 2 * 861_339_936
    assert rows["833 M"].exact == 832_667_936
    assert rows["837 M"].exact is None
    multiplies = [r for r in networks.inception_v1().reconcile() if r.printed.of == "multiplies"]
    lost = [r.printed.part for r in multiplies if r.printed.part and r.exact is None]
    assert lost == ["conv1", "5a"]
    (row,) = networks.resnet(50, stride_on="1×1").reconcile()
    assert (row.exact, row.convention.split(" or ")[0]) == (3_857_973_248, "multiplies, cut")
    assert [row.convention for row in networks.resnext50().reconcile()][2].endswith(
        "running means and variances"
    )
    assert networks.alexnet().reconcile() == networks.alexnet().published == ()
    found = networks.resnet50().reconcile()
    assert str(found).count("\n") == len(found) == found.to_markdown().count("\n") - 1
    assert found._repr_html_().count("<tr>") == len(found) + 1


@pytest.mark.parametrize(
    ("text", "exact", "ways"),
    [
        ("569 M", 568_500_000, [""]),
        ("569 M", 568_499_999, []),
        ("3.8 G", 3_899_999_999, [", cut"]),
        ("112 K", 114_688, [", K = 1024"]),
        ("94.86 %", Fraction(94_857, 100_000), [""]),
        ("1,248,424", 1_248_424, [""]),
        ("1,248,424", 1_248_425, []),
    ],
)
def test_what_a_printed_figure_may_be(text, exact, ways):
    assert _readings(text, exact) == ways


def test_mobilenet_falls_out_of_its_twin():
    """Howard et al., Table 4, and the savings of sections 3.1 and 8 of their network: 8.558 and 6.957 times."""
    done = networks.whatif(networks.mobilenet_v1(separable=False), keep=["conv1"])
    known = networks.mobilenet_v1()
    assert done.after.multiplies == known.multiplies
    assert done.after.weights == known.weights
    assert done.after.parameters_with_running_stats == known.parameters_with_running_stats
    assert [round(times, 3) for times in done.saving] == [8.558, 6.957]
    assert len(done.exchanged) == 13
    assert repr(done).count("\n") == 15
    assert done._repr_html_().count("<tr>") == 15
    assert done.to_markdown().splitlines()[-1].split(" | ")[3] == "8.558"


def test_groups_divide_what_they_can():
    done = networks.whatif(networks.alexnet(groups=1), by="grouped", keep=["conv3"])
    assert list(done.exchanged) == ["conv2", "conv4", "conv5"]  # conv1 has three channels
    assert done.after.multiplies == networks.alexnet().multiplies
    twice = networks.whatif(networks.whatif(networks.mobilenet_v1()).after, "pointwise")
    assert twice.exchanged["conv1"] == ("conv1/dw1", "conv1")
    back = networks.whatif(networks.alexnet(), "grouped", "standard")
    assert back.after.multiplies == networks.alexnet(groups=1).multiplies


@pytest.mark.parametrize(
    ("words", "options", "message"),
    [
        (("linear",), {}, "replace: must be"),
        (("standard", "deformable"), {}, "by: must be"),
        (("grouped",), {}, "replace: no grouped layer of SqueezeNet 1.0"),
        ((), {"keep": ["conv2"]}, "keep: conv2 is no layer of SqueezeNet"),
        (("standard", "grouped"), {"groups": 0}, "groups: must be at least 1"),
    ],
)
def test_what_cannot_be_exchanged(words, options, message):
    with pytest.raises(ValueError, match=message):
        networks.whatif(networks.squeezenet(), *words, **options)
    for keep in ("conv1", [1]):
        with pytest.raises(TypeError, match="keep: must be a list of layers' names"):
            networks.whatif(networks.squeezenet(), keep=keep)
