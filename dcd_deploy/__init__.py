"""dcd_deploy: networks with dynamic convolution, from a trained checkpoint to a verified file for phones and boards.

The rooms, each importing only from those above it (``tests/test_import_directions.py`` holds them to it):

    errors        one exception tree, one exit code each
    stages        hidden folders in which files are made, and what a kill left of them
    interruption  how an interrupted command line ends
    made_once     what is made once and kept in the user's cache folder
    optional      the one door for packages that only some commands need
    progress      what a long function tells its caller while it runs
    files         reading refused early, writing whole or not at all
    native_output what native libraries print past Python
    artifacts     what an exported file knows about itself
    card_json     its description, read back
    network_names what families of networks are called, and published accuracies
    dynamic       what a dynamic convolution is; families recognised and proved        needs torch
    lowering      any module → captured graph → passes → deploy graph                  needs torch
    models        networks whose checkpoints need no Python file; checkpoints          needs torch
    runtimes      running an exported file in an app                                   needs numpy and one runtime
    export        deploy form → ONNX or TFLite → verified                needs torch, onnx, litert-torch
    benchmarks    a model beside its static twin, interleaved                          needs a runtime
    emulation     ARM cores that are none: files checked and counted there             needs QEMU
    devices       this machine, boards over ssh, phones over adb                       needs what they need
    tuning        the form of each layer, chosen by measuring on a device              needs export and a runtime
    bundle        a model as a folder for an app, with a sample that checks itself     needs a runtime
    commands      the commands as Python functions; their annotations are the command line's options
    config        defaults of options from a file dcd-deploy.toml
    reports       results → tables and JSON; the only place that formats a number
    recording     what a user's own network answers, kept for the checks                needs torch
    cli           the command line, made from the annotations of ``commands``
    __main__      the light door to it
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dcd_deploy.commands.module import deploy_form, export_module
    from dcd_deploy.recording import record_reference

__all__ = ["__version__", "deploy_form", "export_module", "record_reference"]
__version__ = "0.1.0"
OFFERED = {
    "deploy_form": "dcd_deploy.commands.module",
    "export_module": "dcd_deploy.commands.module",
    "record_reference": "dcd_deploy.recording",
}


def __getattr__(name: str) -> object:
    """Load what needs torch when it is asked for."""
    if name in OFFERED:
        return getattr(import_module(OFFERED[name]), name)
    raise AttributeError(f"module 'dcd_deploy' has no attribute '{name}'")
