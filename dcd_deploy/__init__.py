"""dcd_deploy: networks with dynamic convolution, from a trained checkpoint to a verified file for phones and boards.

The rooms, each importing only from those above it (``tests/test_import_directions.py`` holds them to it):

    errors        one exception tree, one exit code each
    interruption  how an interrupted command line ends
    values        values of options, as texts or as Python has them
    optional      the one door for packages that only some commands need
    progress      what a long function tells its caller while it runs
    files         reading refused early, writing whole or not at all
    native_output what native libraries print past Python
    artifacts     what an exported file knows about itself
    network_names what families of networks are called, and published accuracies
    models        networks in train form, checkpoints, the exact deploy form           needs torch
    runtimes      running an exported file in an app                                   needs numpy and one runtime
    export        deploy form → ONNX or TFLite → verified                needs torch, onnx, litert-torch
    benchmarks    a model beside its static twin, interleaved                          needs a runtime
    devices       this machine, boards over ssh, phones over adb, emulated ARM cores   needs what they need
    tuning        the form of each layer, chosen by measuring on a device              needs export and a runtime
    commands      the commands as Python functions
    reports       results → tables and JSON; the only place that formats a number
    cli           the command line: parse → one call of ``commands`` → one report
    __main__      the light door to it
"""

__version__ = "0.1.0"
