"""What is told of a runtime that ended its process: its own reason, and nothing of its stacks and sources."""

import pytest

from dcd_deploy.runtimes.others.last_words import last_words

RAISED = 'Traceback (most recent call last):\n  File "worker.py", line 52, in main\n    raise RuntimeError("no")\n'
UNKNOWN = "layer torch.ge not exists or registered\n"
CASES = {
    "tract": (
        "",
        RAISED
        + "tract.TractError: Evaluating #24\n\nCaused by:\n    Bool is no number\n\nStack backtrace:\n  33: _start\n",
        "tract.TractError: Evaluating #24 Caused by: Bool is no number",
    ),
    "OpenCV": (
        "",
        "[ERROR:0@0.01] global net_impl.cpp:1204 input[0] = [ 1 8 ]\n"
        + RAISED
        + "cv2.error: OpenCV(4.14.0) /io/net_impl.cpp:9: error: (-2:Unspecified error) in function 'void f(int)'\n"
        + ">  (expected: 'total > 0'), where\n>     'total' is -1920\n> must be greater than\n>     '0' is 0\n> \n",
        "cv2.error: (expected: 'total > 0'), where 'total' is -1920 must be greater than '0' is 0",
    ),
    "OpenCV within OpenCV": (
        "",
        RAISED
        + "cv2.error: OpenCV(5.0.0) /io/a.cpp:1: error: (-2:Unspecified error) in function 'handleNode'\n"
        + "> Node [Col2Im@ai.onnx]:(fold) parse error: OpenCV(5.0.0) /io/b.hpp:187: error: (-2:Unspecified error)"
        + ' Can\'t create layer "fold" of type "Col2Im" in function \'getLayerInstance\'\n> \n',
        'cv2.error: Node [Col2Im@ai.onnx]:(fold) parse error: Can\'t create layer "fold" of type "Col2Im"',
    ),
    "ncnn": (
        "",
        UNKNOWN + RAISED + "RuntimeError: ncnn cannot load what pnnx wrote\n",
        "ncnn cannot load what pnnx wrote (layer torch.ge not exists or registered)",
    ),
    "MNN": (
        "Start to Optimize the MNN Net...\n[00:44:12] :220: These Op Not Support: ONNX::IsNaN \nConverted Failed!\n",
        RAISED + "RuntimeError: MNN cannot convert the file\n",
        "MNN cannot convert the file (These Op Not Support: ONNX::IsNaN)",
    ),
    "another exception beside a complaint": (
        "",
        UNKNOWN + RAISED + "ModuleNotFoundError: No module named 'ncnn'\n",
        "ModuleNotFoundError: No module named 'ncnn'",
    ),
    "no exception": ("", "something\nlast of all\n>>>\n", "last of all"),
    "nothing": ("", "", ""),
}


@pytest.mark.parametrize("name", CASES)
def test_the_reason(name):
    stdout, stderr, wanted = CASES[name]
    assert last_words(stdout, stderr) == wanted
