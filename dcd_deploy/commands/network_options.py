"""The options that say which network a checkpoint holds, of every command that takes one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypedDict

from dcd_deploy.commands.options import NETWORK, Option
from dcd_deploy.commands.values import Counts, Shape, Size


class RecognisedOptions(TypedDict, total=False):
    """Which network a checkpoint holds, and how its weights are found in the file; all may be left out.

    ``network`` is "FILE.py:FACTORY", a user's own file, which is run; ``network_args`` (a JSON object) are the
    factory's. The other settings belong to a network that is known by its tensors. ``prefix`` stands before the keys
    that count, keys that begin with one of ``drop`` do not; ``ema`` takes the averaged copy. Submodules at the paths
    of ``leaf`` are kept whole, as ordinary operators.
    """

    network: Annotated[
        str | None,
        Option(
            "FILE.py:FACTORY that makes your own network; that Python file is run. Weights come from the checkpoint, "
            "which is only read.",
            NETWORK,
        ),
    ]
    network_args: Annotated[
        str | Mapping[str, Any] | None, Option("JSON object of the factory's keyword arguments.", NETWORK)
    ]
    ema: Annotated[bool, Option("Take the averaged (EMA) copy of the weights.", NETWORK, beside=True)]
    prefix: Annotated[
        str | None,
        Option("Take only the checkpoint's keys behind this.", NETWORK, default="found by itself", beside=True),
    ]
    drop: Annotated[
        Sequence[str],
        Option(
            "Leave out keys that begin so, such as aux.; may be given several times.",
            NETWORK,
            several=True,
            beside=True,
        ),
    ]
    leaf: Annotated[
        Sequence[str],
        Option(
            "Path of a submodule to keep whole, as the operators it consists of; may be given several times.",
            NETWORK,
            several=True,
            beside=True,
        ),
    ]
    arch: Annotated[str | None, Option("Architecture, where the tensors' own is not wanted.", NETWORK, beside=True)]
    width_mult: Annotated[
        float | None, Option("Width of MobileNetV2, instead of the inferred one.", NETWORK, beside=True)
    ]
    fc_squeeze: Annotated[
        int | None, Option("Squeeze of MobileNetV2-DCD, instead of the inferred one.", NETWORK, beside=True)
    ]
    num_classes: Annotated[int | None, Option("Number of classes, instead of the inferred one.", NETWORK, beside=True)]
    dropout: Annotated[
        float | None,
        Option("Dropout the network was trained with (0: none), instead of the inferred one.", NETWORK, beside=True),
    ]


class WeightOptions(RecognisedOptions, total=False):
    """The same with what no tensor of a checkpoint tells (``models.untold.Untold``); what is left out is as published.

    ``strides``, the stem's and each stage's, are numbers or their text, such as "2,1,2,2,1".
    """

    bn_eps: Annotated[
        float | None, Option("eps of the BatchNorms, which no tensor tells.", NETWORK, default="1e-5", beside=True)
    ]
    gate: Annotated[
        str | None,
        Option("Gate of the dynamic layers: relu6/3, relu6/6 or sigmoid.", NETWORK, default="relu6/3", beside=True),
    ]
    residual_q: Annotated[
        bool | None, Option("Whether the dynamic layers add q.", NETWORK, default="they do", beside=True)
    ]
    strides: Annotated[
        Counts | None, Option("Strides of the stem and of each stage, such as 2,1,2,2,2.", NETWORK, beside=True)
    ]
    stem_stride: Annotated[int | None, Option("Stride of the stem.", NETWORK, default="2", beside=True)]
    last_stride: Annotated[
        int | None, Option("Stride of the last stage that halves its map.", NETWORK, default="2", beside=True)
    ]
    stem_pool: Annotated[
        bool | None, Option("Whether a ResNet's stem pools.", NETWORK, default="if its kernel is 7", beside=True)
    ]


class NetworkOptions(WeightOptions, total=False):
    """The same with the size of the input.

    It is ``input_shape``, (C, H, W), "C,H,W" or of other axes, with ``network``, and of a known network ``input_size``,
    a side or (height, width).
    """

    input_size: Annotated[
        Size, Option("Side, or HEIGHTxWIDTH, of a network known by its tensors.", default="224", beside=True)
    ]
    input_shape: Annotated[
        Shape | None,
        Option("C,H,W of an input of your own network, such as 1,64,96; C,L of a signal.", NETWORK, beside=True),
    ]


UNTOLD = tuple(name for name in WeightOptions.__annotations__ if name not in RecognisedOptions.__annotations__)
