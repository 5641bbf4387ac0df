import dataclasses
import json
import math
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from logclock.algorithms import (
    AdabeliefSpec,
    AdafactorSpec,
    AdagradSpec,
    AdamMiniSpec,
    AdampSpec,
    AdamsSpec,
    AdamuonSpec,
    AdamwSpec,
    AdanaMixSpec,
    AdanaSpec,
    AdanSpec,
    AdemamixSpec,
    AdoptSpec,
    ApolloMiniSpec,
    ApolloSpec,
    AroSpec,
    CosmosSpec,
    DanaMk4Spec,
    DanaSpec,
    DanaStarMk4Spec,
    DanaStarSpec,
    DiffgradSpec,
    Dion2Spec,
    DualadamSpec,
    ExadamSpec,
    FiraSpec,
    InvadamSpec,
    KlShampooSpec,
    KlSoapSpec,
    LapropSpec,
    LionSpec,
    MarsSpec,
    Muon2Spec,
    MuonSpec,
    NadamwSpec,
    NormsgdSpec,
    NormuonSpec,
    ProdigySpec,
    PsgdKronSpec,
    ScaledAdamSpec,
    ScaleSpec,
    ScionSpec,
    SgdpSpec,
    SgdSpec,
    ShampooSpec,
    SignumSpec,
    SimplifiedAdemamixSpec,
    SinkgdSpec,
    SoapSpec,
    SophiaGSpec,
    SplusSpec,
    StableAdamwSpec,
    SwanSpec,
)
from logclock.config import from_dict, to_dict
from logclock.config.field_docs import field_docs
from logclock.rules import (
    Cautious,
    CautiousDecay,
    ClipRms,
    EmaNesterov,
    Grams,
    Hyperball,
    MagnitudeDirection,
    ScheduleFree,
    Spec,
    TrustRatio,
)
from logclock.schedules import (
    Constant,
    Cosine,
    HalfLifeRamp,
    InverseTime,
    LinearRamp,
    constant_decay,
    log_time_decay,
)

SHARED = {
    "lr": 0.25,
    "weight_decay": log_time_decay(4.0, offset=1395.0),
    "decay_coupling": "coupled",
    "decay_order": "after",
    "lr_schedule": Cosine(total_steps=100.0, warmup_steps=2.0, final=0.1),
    "apply": CautiousDecay(),
    "wrappers": (EmaNesterov(lookahead=InverseTime(scale=1.0, offset=1.0), memory_weight=0.125),),
}
EMAS = {"ema1": HalfLifeRamp(start=0.1, end=1e-4, steps=1e4), "ema2": 0.001}
GAIN = {"gain": LinearRamp(start=0.0, end=8.0, steps=1e4), "gain_offset": 0.5}
UNCORRECTED = EMAS | {"ema2": 0.01, "bias_correction": False}
CONSTANT = {"ema1": 0.2, "ema2": 0.05, "eps": 1e-6}
PROJECTION = {"nesterov": True, "cosine_bound": 0.5, "decay_ratio": 0.5, "eps": 1e-6}
REFRESHED = {"refresh_interval": 3, "max_basis_size": 64, "spread_refreshes": True}
LOW_RANK = UNCORRECTED | {"eps": 1e-5, "rank": 3, "refresh_interval": 5, "growth_limit": 1.5, "scale": 2.0}
ADANA = {"kappa": 0.75, "delta": 6.0, "eps": 1e-6}

ORTHOGONAL = {
    "coefficients": "cans",
    "num_iterations": 6,
    "iteration_dtype": "float32",
    "iteration_form": "gram",
    "row_blocks": 3,
}

# One spec of each registered name, with every field away from its default.
CASES = {
    "adagrad": AdagradSpec(**SHARED | {"decay_coupling": "independent"}, initial=0.25, eps=1e-6),
    "sgd": SgdSpec(
        momentum=InverseTime(scale=1.0, offset=1.0), nesterov=True, **SHARED | {"decay_coupling": "independent"}
    ),
    "adamw": AdamwSpec(**UNCORRECTED, eps=1e-6, **SHARED | {"decay_coupling": "independent"}),
    "nadamw": NadamwSpec(**UNCORRECTED, eps=1e-6, **SHARED | {"decay_coupling": "independent"}),
    "adana-mix": AdanaMixSpec(
        **UNCORRECTED,
        ema_long=HalfLifeRamp(start=0.1, end=1e-5, steps=1e4),
        kappa=0.75,
        delta=4.0,
        gain_factor=4.0,
        gain=LinearRamp(start=0.0, end=8.0, steps=1e4),
        gain_cooldown=True,
        eps=1e-6,
        **SHARED,
    ),
    "ademamix": AdemamixSpec(
        **UNCORRECTED,
        ema_slow=HalfLifeRamp(start=0.1, end=1e-5, steps=1e4),
        gain=LinearRamp(start=0.0, end=8.0, steps=1e4),
        eps=1e-6,
        **SHARED | {"decay_coupling": "independent"},
    ),
    "laprop": LapropSpec(**UNCORRECTED, eps=1e-6, **SHARED | {"decay_coupling": "independent"}),
    "lion": LionSpec(**EMAS, **SHARED | {"decay_coupling": "independent"}),
    "signum": SignumSpec(ema1=EMAS["ema1"], nesterov=True, **SHARED | {"decay_coupling": "independent"}),
    "adana": AdanaSpec(**SHARED, **EMAS, **GAIN, **ADANA),
    "dana": DanaSpec(
        **SHARED | {"decay_coupling": "independent"},
        kappa=0.75,
        delta=4.0,
        c3=0.25,
        gamma1=0.5,
        gamma2=LinearRamp(start=1.0, end=0.5, steps=1e4),
        gamma3=0.125,
        damping=InverseTime(scale=1.0, offset=1.0),
    ),
    "dana-mk4": DanaMk4Spec(**SHARED | {"decay_order": "before"}, **EMAS, **GAIN, **ADANA, clip_snr=None),
    "dana-star": DanaStarSpec(**SHARED, **EMAS, **ADANA, clip_grad=None),
    "dana-star-mk4": DanaStarMk4Spec(
        **SHARED | {"decay_order": "before"}, **EMAS, **ADANA, clip_snr=0.25, gain_offset=0.0
    ),
    "muon": MuonSpec(
        **SHARED | {"decay_coupling": "independent"},
        ema1=EMAS["ema1"],
        nesterov=False,
        scale_rule="match_rms_adamw",
        num_iterations=6,
        iteration_dtype="float32",
        row_blocks=(2, 1),
        iteration_form="direct",
        coefficients=((2.0, -1.5, 0.5), (1.5, -0.5, 0.0)),
    ),
    "normuon": NormuonSpec(
        **SHARED | {"decay_coupling": "independent"},
        **ORTHOGONAL,
        ema1=EMAS["ema1"],
        ema2=EMAS["ema2"],
        eps=1e-6,
        nesterov=False,
        scale_rule="match_rms_adamw",
        axis="short_axis",
    ),
    "muon2": Muon2Spec(
        **SHARED | {"decay_coupling": "independent"},
        **ORTHOGONAL,
        ema1=EMAS["ema1"],
        ema2=EMAS["ema2"],
        eps=1e-6,
        nesterov=False,
        scale_rule="match_rms_adamw",
    ),
    "adamuon": AdamuonSpec(
        **SHARED | {"decay_coupling": "independent"},
        **ORTHOGONAL,
        ema1=EMAS["ema1"],
        ema2=EMAS["ema2"],
        eps=1e-6,
        nesterov=True,
        takes_sign=False,
    ),
    "scale": ScaleSpec(**SHARED | {"decay_coupling": "independent"}, ema1=EMAS["ema1"], axis="cols", floor=1e-6),
    "swan": SwanSpec(
        **SHARED | {"decay_coupling": "independent"}, **ORTHOGONAL, centers=False, update_rms=0.2, floor=1e-6
    ),
    "sinkgd": SinkgdSpec(**SHARED | {"decay_coupling": "independent"}, num_rounds=2, update_rms=0.2, floor=1e-6),
    "scion": ScionSpec(
        **SHARED | {"decay_coupling": "independent"},
        **ORTHOGONAL,
        ema1=EMAS["ema2"],
        lmo="row_norm",
        radius=2.0,
        normalized=False,
        transposed=True,
        eps=1e-6,
    ),
    "normsgd": NormsgdSpec(
        **SHARED | {"decay_coupling": "independent"},
        momentum=InverseTime(scale=1.0, offset=1.0),
        nesterov=False,
        eps=0.1,
    ),
    "soap": SoapSpec(
        **SHARED | {"decay_coupling": "independent", "decay_order": "before"},
        ema1=0.1,
        ema2=0.01,
        gram_ema=EMAS["ema1"],
        eps=1e-6,
        **REFRESHED,
    ),
    "splus": SplusSpec(
        **SHARED | {"decay_coupling": "independent", "decay_order": "before"},
        ema1=EMAS["ema1"],
        gram_ema=0.01,
        **REFRESHED,
    ),
    "kl-soap": KlSoapSpec(
        **SHARED | {"decay_coupling": "independent"}, ema1=0.2, ema2=0.01, gram_ema=EMAS["ema1"], eps=1e-6, **REFRESHED
    ),
    "kl-shampoo": KlShampooSpec(
        **SHARED | {"decay_coupling": "independent"}, ema1=0.2, gram_ema=EMAS["ema1"], eps=1e-6, **REFRESHED
    ),
    "shampoo": ShampooSpec(
        **SHARED | {"decay_coupling": "independent"},
        ema1=0.2,
        ema2=0.01,
        gram_ema=0.0,
        grafting="rmsprop",
        power=0.5,
        sides="short",
        eps=1e-6,
        graft_eps=1e-6,
        **REFRESHED,
    ),
    "cosmos": CosmosSpec(
        **SHARED | {"decay_coupling": "independent"},
        ema1=0.2,
        ema2=0.01,
        nesterov=False,
        rank=3,
        share=0.5,
        update_rms=0.2,
        num_iterations=6,
        eps=1e-6,
    ),
    "aro": AroSpec(
        **SHARED | {"decay_coupling": "independent"},
        ema1=EMAS["ema1"],
        base="sign",
        num_rounds=3,
        update_rms=0.1,
    ),
    "exadam": ExadamSpec(**CONSTANT, **SHARED | {"decay_coupling": "independent"}),
    "adabelief": AdabeliefSpec(**CONSTANT, rectify=True, **SHARED | {"decay_coupling": "independent"}),
    "diffgrad": DiffgradSpec(**UNCORRECTED, eps=1e-6, **SHARED | {"decay_coupling": "independent"}),
    "invadam": InvadamSpec(**UNCORRECTED, eps=1e-6, **SHARED | {"decay_coupling": "independent"}),
    "dualadam": DualadamSpec(**UNCORRECTED, eps=1e-6, switch_rate=0.125, **SHARED | {"decay_coupling": "independent"}),
    "adan": AdanSpec(**CONSTANT, ema3=0.3, **SHARED | {"decay_coupling": "independent"}),
    "simplified-ademamix": SimplifiedAdemamixSpec(
        **UNCORRECTED, grad_weight=GAIN["gain"], eps=1e-6, **SHARED | {"decay_coupling": "independent"}
    ),
    "stable-adamw": StableAdamwSpec(
        **UNCORRECTED | {"ema2": 0.02}, eps=1e-6, **SHARED | {"decay_coupling": "independent"}
    ),
    "adamp": AdampSpec(**UNCORRECTED, **PROJECTION, **SHARED | {"decay_coupling": "independent"}),
    "scaled-adam": ScaledAdamSpec(
        **CONSTANT,
        size_interval=5,
        size_lr=0.2,
        number_lr=0.3,
        smallest_rms=1e-4,
        largest_rms=2.0,
        largest_growth=0.5,
        largest_number=5.0,
        **SHARED | {"decay_coupling": "independent"},
    ),
    "adams": AdamsSpec(**EMAS, eps=1e-6, **SHARED | {"decay_coupling": "independent"}),
    "sgdp": SgdpSpec(momentum=0.5, dampening=0.25, **PROJECTION, **SHARED | {"decay_coupling": "independent"}),
    "apollo": ApolloSpec(**LOW_RANK, **SHARED | {"decay_coupling": "independent", "decay_order": "before"}),
    "apollo-mini": ApolloMiniSpec(**LOW_RANK, **SHARED | {"decay_coupling": "independent", "decay_order": "before"}),
    "fira": FiraSpec(
        **LOW_RANK, subtracts_whole=True, **SHARED | {"decay_coupling": "independent", "decay_order": "before"}
    ),
    "dion2": Dion2Spec(
        **SHARED | {"decay_coupling": "independent"},
        share=0.5,
        error_decay=InverseTime(scale=1.0, offset=1.0),
        scale_rule="match_rms_adamw",
        num_iterations=6,
        iteration_dtype="float32",
    ),
    "psgd-kron": PsgdKronSpec(
        **SHARED | {"decay_coupling": "independent"},
        ema1=0.2,
        fit_rate=0.2,
        fit_probability=0.5,
        fit_probability_end=0.25,
        flat_start=10.0,
        probability_decay=0.01,
        clip_rms=1.0,
        max_factor_size=64,
    ),
    "adopt": AdoptSpec(**EMAS, eps=1e-5, clip_exponent=None, **SHARED | {"decay_coupling": "independent"}),
    "mars": MarsSpec(
        **EMAS | {"bias_correction": False},
        eps=1e-6,
        gamma=0.05,
        largest_norm=None,
        **SHARED | {"decay_coupling": "independent"},
    ),
    "adafactor": AdafactorSpec(
        **SHARED | {"decay_coupling": "independent"},
        ema2=0.01,
        memory_exponent=0.7,
        eps=1e-9,
        clip=None,
        relative_step=False,
        scale_parameter=False,
        smallest_scale=1e-2,
    ),
    "adam-mini": AdamMiniSpec(**UNCORRECTED, eps=1e-6, row_blocks=2, **SHARED | {"decay_coupling": "independent"}),
    "sophia-g": SophiaGSpec(
        **EMAS | {"ema2": 0.05}, rho=0.1, eps=1e-12, estimate_interval=5, **SHARED | {"decay_coupling": "independent"}
    ),
    "prodigy": ProdigySpec(
        **SHARED | {"decay_coupling": "independent"},
        ema1=0.05,
        ema2=0.01,
        ema3=0.02,
        eps=1e-6,
        bias_correction=True,
        initial_distance=1e-4,
        coefficient=2.0,
        growth_rate=1.5,
        safeguard_warmup=True,
    ),
}


def case(name):
    assert name in CASES, f"the registered optimizer {name!r} needs a line in CASES"
    return CASES[name]


def test_every_registered_optimizer_has_a_case():
    assert sorted(CASES) == list(Spec.family)


@pytest.mark.parametrize("name", list(Spec.family))
def test_a_case_leaves_no_field_at_its_default(name):
    spec = case(name)

    assert [f.name for f in dataclasses.fields(spec) if getattr(spec, f.name) == f.default] == []


@pytest.mark.parametrize("name", list(Spec.family))
def test_a_spec_survives_json_and_pickling(name):
    for spec in (case(name), Spec.family.get(name)()):
        data = to_dict(spec)

        assert data["name"] == name
        omitted = {f.name for f in dataclasses.fields(spec) if f.metadata.get("omit_default")}
        omitted = {key for key in omitted if spec == Spec.family.get(name)()}
        assert set(data) == {"name", *(f.name for f in dataclasses.fields(spec))} - omitted
        assert from_dict(Spec, json.loads(json.dumps(data))) == spec
        assert pickle.loads(pickle.dumps(spec)) == spec
        assert hash(from_dict(Spec, data)) == hash(spec)


@pytest.mark.parametrize("name", list(Spec.family))
def test_a_spec_read_back_gives_the_same_scalars(name):
    spec = case(name)
    again = from_dict(Spec, json.loads(json.dumps(to_dict(spec))))

    for t in (1, 10, 1e6):
        assert again.scalars(t) == spec.scalars(t)
        assert again.scalars(t, 0.125) == spec.scalars(t, 0.125)


@pytest.mark.parametrize("name", list(Spec.family))
def test_a_spec_is_frozen_keyword_only_and_has_defaults_for_everything(name):
    cls = Spec.family.get(name)
    spec = cls()

    assert all(f.default is not dataclasses.MISSING for f in dataclasses.fields(cls))
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.lr = 1.0
    with pytest.raises(TypeError):
        cls(1e-3)


@pytest.mark.parametrize("name", list(Spec.family))
def test_every_field_has_a_docstring_and_the_class_its_references(name):
    cls = Spec.family.get(name)

    assert [f.name for f in dataclasses.fields(cls) if not field_docs(cls).get(f.name)] == []
    assert "References:" in cls.__doc__


@pytest.mark.parametrize("name", list(Spec.family))
@pytest.mark.parametrize("t", [1, 10, 10_000, 1e6, 1e8])
def test_the_scalars_are_finite_numbers_at_any_age(name, t):
    bounds = ("clip", "bound")  # infinite where there is none
    for spec in (case(name), Spec.family.get(name)()):
        scalars = spec.scalars(t)

        assert all(isinstance(value, int | float) for value in scalars.values())
        assert all(math.isfinite(value) for key, value in scalars.items() if not any(word in key for word in bounds))


def test_an_unknown_optimizer_is_answered_with_the_closest():
    message = rf"unknown optimizer 'adanna'\. Did you mean 'adana'.*\? Known: {', '.join(sorted(Spec.family))}\."
    with pytest.raises(ValueError, match=message):
        from_dict(Spec, {"name": "adanna"})


# ----- the conventions of decay

PEAK, LAMBDA = 0.01, 0.5
HALF = Constant(value=0.5)


# lr and decay by hand. s = 1 at the peak; a schedule of 1/2 halves it; an outer lr of 0.004 stands for s = 0.4.
@pytest.mark.parametrize(
    ("coupling", "order", "lr_schedule", "outer_lr", "expected_lr", "expected_decay"),
    [
        ("independent", "before", 1.0, None, 0.01, 0.5),
        ("independent", "before", HALF, None, 0.005, 0.25),
        ("independent", "before", 0.5, None, 0.005, 0.25),
        ("independent", "before", 1.0, 0.004, 0.004, 0.2),
        ("independent", "before", HALF, 0.004, 0.002, 0.1),
        ("independent", "before", 1.0, 0.0, 0.0, 0.0),
        ("independent", "after", 1.0, None, 0.005, 0.5),
        ("independent", "after", HALF, None, 0.00375, 0.25),
        ("independent", "after", 1.0, 0.004, 0.0032, 0.2),
        ("coupled", "before", 1.0, None, 0.01, 0.005),
        ("coupled", "before", HALF, None, 0.005, 0.0025),
        ("coupled", "before", 1.0, 0.004, 0.004, 0.002),
        ("coupled", "before", HALF, 0.004, 0.002, 0.001),
        ("coupled", "after", 1.0, None, 0.00995, 0.005),
        ("coupled", "after", HALF, 0.004, 0.001998, 0.001),
    ],
)
def test_lr_and_decay_by_hand(coupling, order, lr_schedule, outer_lr, expected_lr, expected_decay):
    spec = AdanaSpec(lr=PEAK, weight_decay=LAMBDA, decay_coupling=coupling, decay_order=order, lr_schedule=lr_schedule)

    scalars = spec.scalars(1, outer_lr)
    lr, decay = scalars["lr"], scalars["decay"]

    assert lr == pytest.approx(expected_lr, rel=1e-14)
    assert decay == pytest.approx(expected_decay, rel=1e-14)


def test_a_learning_rate_in_a_tensor_stays_one():
    spec = AdanaSpec(lr=PEAK, weight_decay=LAMBDA, decay_order="after", lr_schedule=HALF)

    scalars = spec.scalars(1, torch.tensor(0.004, dtype=torch.float64))
    lr, decay = scalars["lr"], scalars["decay"]

    assert isinstance(lr, torch.Tensor)
    assert isinstance(decay, torch.Tensor)
    assert (lr.item(), decay.item()) == pytest.approx((0.0018, 0.1), rel=1e-14)


def test_scheduled_decay_follows_t():
    spec = AdanaSpec(lr=PEAK, weight_decay=log_time_decay(4.0, offset=10.0))

    assert [spec.scalars(t)["decay"] for t in (10, 30, 1e6)] == [0.2, 0.1, 4 / 1_000_010]


def test_adamw_of_the_study_decays_by_omega_over_total_steps_times_s():
    # adana.md 1.7: coupled decay with the coefficient omega / (peak T) is s(t) omega / T a step
    total_steps = 13_950
    multiplier = Cosine(total_steps=total_steps, warmup_steps=279, warmup_start=0.01, final=0.1)
    coupled = AdamwSpec(lr=3e-4, weight_decay=4.0 / (3e-4 * total_steps), lr_schedule=multiplier)
    independent = AdamwSpec(
        lr=3e-4,
        weight_decay=constant_decay(4.0, total_steps=total_steps),
        lr_schedule=multiplier,
        decay_coupling="independent",
    )

    for t in (1, 280, 7_000, 13_950):
        expected = multiplier(t) * 4.0 / total_steps
        assert coupled.scalars(t)["decay"] == pytest.approx(expected, rel=1e-14)
        assert independent.scalars(t)["decay"] == pytest.approx(expected, rel=1e-14)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    param=st.floats(-10, 10),
    update=st.floats(-10, 10),
    lr=st.floats(1e-6, 1),
    weight_decay=st.floats(0, 1),
    coupling=st.sampled_from(["independent", "coupled"]),
)
def test_both_orders_are_what_they_say(param, update, lr, weight_decay, coupling):
    fraction = weight_decay * (lr if coupling == "coupled" else 1.0)
    results = {}
    for order in ("before", "after"):
        spec = AdanaSpec(lr=lr, weight_decay=weight_decay, decay_coupling=coupling, decay_order=order)
        scalars = spec.scalars(1)
        results[order] = param - scalars["lr"] * update - scalars["decay"] * param

    assert results["before"] == pytest.approx(param * (1 - fraction) - lr * update, abs=1e-13)
    assert results["after"] == pytest.approx((param - lr * update) * (1 - fraction), abs=1e-13)


# ----- validation

BAD_VALUES = [
    ({"lr": 0.0}, r"lr must be > 0, got 0\.0\. It is the peak; freeze parameters with requires_grad_\(False\)"),
    ({"lr": -1.0}, r"lr must be > 0, got -1\.0"),
    ({"lr": math.nan}, "lr must be > 0, got nan"),
    ({"eps": -1e-8}, "eps must be >=? 0, got -1e-08"),
    ({"weight_decay": -0.1}, r"weight_decay must be >= 0, got -0\.1"),
    ({"ema1": 0.0}, r"ema1 must lie in \(0, 1\], got 0\.0\. It is 1 - beta, the weight of the new sample\."),
    ({"ema2": 1.5}, r"ema2 must lie in \(0, 1\], got 1\.5\. It is 1 - beta"),
    ({"ema_slow": 1.5}, r"ema_slow must lie in \(0, 1\], got 1\.5\. It is 1 - beta"),
    ({"decay_coupling": "loose"}, "decay_coupling must be 'independent' or 'coupled', got 'loose'"),
    ({"decay_order": "during"}, "decay_order must be 'before' or 'after', got 'during'"),
    ({"kappa": 1.5, "eps": 1e-8}, r"kappa must lie in \[0, 1\], got 1\.5\. kappa = 1 means no growth"),
    ({"kappa": -0.1, "eps": 1e-8}, r"kappa must lie in \[0, 1\], got -0\.1"),
    ({"delta": 0.0}, r"delta must be > 0, got 0\.0\. The average remembers about t / delta updates\."),
    ({"gain_offset": -1.0}, r"gain_offset must be >= 0, got -1\.0"),
    ({"clip_snr": 0.0}, r"clip_snr must be > 0, got 0\.0"),
    ({"clip_grad": -2.0}, r"clip_grad must be > 0, got -2\.0"),
    ({"momentum": 1.0}, r"momentum must lie in \[0, 1\), got 1\.0"),
    ({"momentum": -0.1}, r"momentum must lie in \[0, 1\), got -0\.1"),
    ({"momentum": 0.0, "nesterov": True}, r"momentum must be > 0 with nesterov=True, got 0\.0"),
    ({"ema1": 1.0, "nesterov": True}, r"ema1 must be < 1 with nesterov=True, got 1\.0\. Without momentum there is no"),
    ({"gain": -1.0, "ema_slow": 0.1}, r"gain must be >= 0, got -1\.0"),
]


@pytest.mark.parametrize("name", list(Spec.family))
@pytest.mark.parametrize(("fields", "message"), BAD_VALUES)
def test_values_out_of_range_are_refused_by_every_spec_that_has_them(name, fields, message):
    cls = Spec.family.get(name)
    if not set(fields) <= {f.name for f in dataclasses.fields(cls)}:
        with pytest.raises(TypeError, match="unexpected keyword argument"):
            cls(**fields)
        return

    with pytest.raises(ValueError, match=message):
        cls(**fields)


# ----- what a spec derives


def test_a_static_option_is_part_of_the_rule_and_no_scalar():
    scalars = MuonSpec().scalars(1)

    assert set(scalars) == {"ema1", "look_ahead", "lr", "decay"}
    assert dict(MuonSpec(row_blocks=3).rule.steps[1].statics)["row_blocks"] == 3


# s = 1/2, gamma = 0.005, lambda = 1/2: what the other apply stages and wrappers read.
@pytest.mark.parametrize(
    ("coupling", "order", "expected"),
    [
        ("independent", "before", {"decay": 0.25, "rate_before_decay": 0.0}),
        ("independent", "after", {"decay": 0.25, "rate_before_decay": 0.005}),
        ("coupled", "before", {"decay": 0.0025, "rate_before_decay": 0.0}),
        ("coupled", "after", {"decay": 0.0025, "rate_before_decay": 0.005}),
    ],
)
def test_the_scalars_of_other_apply_stages_by_hand(coupling, order, expected):
    spec = AdanaSpec(
        lr=PEAK,
        weight_decay=LAMBDA,
        decay_coupling=coupling,
        decay_order=order,
        lr_schedule=HALF,
        apply=CautiousDecay(),
    )

    scalars = spec.scalars(1)

    assert {name: scalars[name] for name in expected} == pytest.approx(expected, rel=1e-14)
    assert scalars["rate"] == pytest.approx(0.005, rel=1e-14)


@pytest.mark.parametrize(("coupling", "expected"), [("independent", 50.0), ("coupled", 0.5)])
def test_a_wrapper_that_absorbs_decay_gets_it_per_lr_and_nothing_is_left_to_apply(coupling, expected):
    spec = AdanaSpec(lr=PEAK, weight_decay=LAMBDA, decay_coupling=coupling, lr_schedule=HALF, wrappers=(TrustRatio(),))

    scalars = spec.scalars(1)

    assert scalars["decay_per_lr"] == pytest.approx(expected, rel=1e-14)
    assert scalars["decay"] == 0.0


@pytest.mark.parametrize(
    ("coupling", "wrappers", "expected"),
    [("independent", (), 50.0), ("coupled", (), 0.5), ("coupled", (TrustRatio(),), 0.5)],
)
def test_a_direction_that_absorbs_decay_gets_it_once_whatever_stands_around_it(coupling, wrappers, expected):
    scalars = StableAdamwSpec(
        lr=PEAK, weight_decay=LAMBDA, decay_coupling=coupling, lr_schedule=HALF, wrappers=wrappers
    ).scalars(1)

    assert scalars["absorbed_decay"] == pytest.approx(expected, rel=1e-14)
    assert scalars["decay"] == 0.0
    assert scalars.get("decay_per_lr", 0.0) == 0.0


def test_soaps_first_call_moves_nothing_under_any_option():
    scalars = SoapSpec(weight_decay=0.5, apply=CautiousDecay(), lr_schedule=HALF).scalars(1)

    assert (scalars["rate"], scalars["decay"]) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"wrappers": (EmaNesterov(), EmaNesterov(lookahead=0.1))},
            r"wrappers must be different ones.*stand there once",
        ),
        ({"wrappers": (EmaNesterov(), ScheduleFree())}, r"wrappers must hold one that trains at another point"),
        ({"apply": Hyperball(), "weight_decay": 0.1}, r"weight_decay must be 0 with apply='hyperball', got 0\.1"),
        (
            {"apply": MagnitudeDirection(), "weight_decay": log_time_decay(1.0, offset=1.0)},
            r"weight_decay must be 0 with apply='magnitude_direction'",
        ),
    ],
)
def test_options_that_do_not_go_together_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        AdanaSpec(**fields)


def test_options_are_plain_data_by_name_alias_or_settings():
    by_name = from_dict(Spec, {"name": "adana", "apply": "cautious", "wrappers": ["cautious", {"name": "clip_rms"}]})

    assert by_name.apply == CautiousDecay()
    assert by_name.wrappers == (Cautious(), ClipRms(bound=1.0))
    assert to_dict(by_name)["apply"] == {"name": "cautious_decay"}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"apply": "cautios"}, "unknown apply stage 'cautios'.*Did you mean 'cautious_decay'"),
        ({"wrappers": ["schedule_fre"]}, "unknown wrapper 'schedule_fre'.*Did you mean 'schedule_free'"),
        ({"apply": {"name": "huber_decay", "bound": -1.0}}, r"bound must be > 0, got -1\.0"),
        ({"wrappers": [{"name": "schedule_free", "beta": 0.0}]}, r"beta must lie in \(0, 1\], got 0\.0"),
        ({"wrappers": [{"name": "ema_nesterov", "memory_weight": 0.0}]}, r"memory_weight must lie in \(0, 1\], got 0"),
    ],
)
def test_bad_options_are_answered_with_what_is_allowed(data, message):
    with pytest.raises(ValueError, match=message):
        from_dict(Spec, {"name": "adana", **data})


def test_options_may_be_given_as_plain_data_to_a_spec_too():
    spec = AdamwSpec(apply="cautious", wrappers=["grams", {"name": "clip_rms", "bound": 0.5}])

    assert spec == AdamwSpec(apply=CautiousDecay(), wrappers=(Grams(), ClipRms(bound=0.5)))
    with pytest.raises(ValueError, match=r"unknown wrapper 'grms'\. Did you mean 'grams'"):
        AdamwSpec(wrappers=["grms"])
    with pytest.raises(TypeError, match=r"wrappers must be a list, got 'grams'"):
        AdamwSpec(wrappers="grams")
