"""The screens of the samples for phones, as SVG, for docs/apps: drawn from their layout, since no phone was at hand.

The words are those of the samples. What the check and the classes say is what the samples' own Kotlin, on a Java
machine, and Swift, on Linux, answered for the photographs' network and its crop of coffee.
"""

from __future__ import annotations

import base64
import re

from drawing import card, sides, text
from pages import ROOT

TEMPLATES = ROOT / "dcd_deploy" / "bundle" / "templates"
CROP = ROOT / "examples" / "photographs" / "coffee.png"
CLASSES = (("coffee", "93.1"), ("flower", "1.3"), ("galaxies", "1.2"))
ERRORS = {"android": "1.9e-07", "ios": "6.5e-08"}
WIDTH, LEFT, RIGHT = 420, 40, 380
DRAWN = ("Drawn from the sample's layout, not photographed:", "no phone ran it. Times are left open.")


def android() -> str:
    """The screen of ``MainActivity.kt``: check, button, picture, classes, times, one below the other."""
    strings = (TEMPLATES / "android/app/src/main/res/values/strings.xml").read_text(encoding="utf-8")
    words = dict(re.findall(r'<string name="(\w+)">(.*)</string>', strings))
    passed = words["passed"].replace("%1$s", ERRORS["android"])
    picture = f"data:image/png;base64,{base64.b64encode(CROP.read_bytes()).decode()}"
    parts = [
        *_frame(480),
        text(LEFT, 66, passed, "small left"),
        f'<rect class="idle" {sides(LEFT, 82, RIGHT - LEFT, 38)} rx="19"/>',
        text(WIDTH / 2, 106, words["choose"]),
        f'<image {sides(LEFT, 134, RIGHT - LEFT, 240)} href="{picture}" preserveAspectRatio="xMidYMid"/>',
    ]
    lines = [words["guess"].replace("%1$s", name).replace("%2$.1f %%", f"{share} %") for name, share in CLASSES]
    for place, line in enumerate((*lines, re.sub(r"%\d\$\.1f", "–", words["times"]))):
        parts.append(text(LEFT, 402 + 24 * place, line, "left"))
    return card(
        WIDTH, 560, "The Android sample: self-check, a picture, its likeliest classes", [*parts, *_caption(520)]
    )


def ios() -> str:
    """The screen of ``ClassifierView.swift``: a list of the check, the chooser, the classes and the times."""
    view = (TEMPLATES / "ios/Sources/Classifier/ClassifierView.swift").read_text(encoding="utf-8")
    passed = _word(view, r'format: "(self-check passed.*?)"').replace("%.1e", ERRORS["ios"])
    times = _word(view, r'format: "(preprocessing .*?)"').replace("%.1f", "–")
    rows = [(passed, "", "small left"), (_word(view, r'PhotosPicker\("(.*?)"'), "", "left head")]
    rows += [(name, f"{share} %", "left") for name, share in CLASSES]
    rows += [(times, "", "left")]
    parts = _frame(300)
    for place, (words, value, kind) in enumerate(rows):
        y = 72 + 42 * place
        parts += [text(LEFT, y, words, kind), text(RIGHT, y, value, "right")]
        parts += [f'<path class="line" d="M{LEFT} {y + 16}H{RIGHT}"/>'] * (place < len(rows) - 1)
    return card(WIDTH, 380, "The iOS sample: self-check, chooser, likeliest classes", [*parts, *_caption(340)])


def _word(source: str, pattern: str) -> str:
    found = re.search(pattern, source)
    assert found is not None, pattern
    return found[1]


def _frame(height: int) -> list[str]:
    return [f'<rect class="plain" {sides(20, 24, WIDTH - 40, height)} rx="26"/>']


def _caption(y: int) -> list[str]:
    return [text(WIDTH / 2, y + 18 * place, line, "small") for place, line in enumerate(DRAWN)]
