"""Which tests `make test` leaves to `make test-long`: what takes minutes, or programs beyond Python's packages.

A file is named here, or a test bears the mark `long`, or it uses a fixture that starts a server.
"""

FILES = {
    "devices: sshd, adb, emulated cores": (
        "across_devices adb adb_holding adb_native adb_python adb_runners device_cache emulated ssh "
        "fleets ssh_fleet ssh_lacking ssh_lost ssh_refused ssh_setup ssh_tuning"
    ),
    "processors by emulation, the old interpreter": "in_blocks mixtures_in_blocks x86_processors tflite_interpreters",
    "browsers, compilers": "apps_web apps_cpp apps_android",
    "many exports": (
        "cli_endings cli_tuning for_runtime deploy_form dynamic_timm export_module lay_out_tflite litert_compiled "
        "litert_compiled_commands networks onnx opsets ort_files own_files own_network_page own_networks profile "
        "executorch int8 int8_faults raw_bytes recognise recorded rewritten_files small_files sweep tflite tflite_gate "
        "trials tuning untold evaluate_command photographs_export"
    ),
}
LONG = {f"test_{stem}" for stems in FILES.values() for stem in stems.split()}
FIXTURES = {"board", "adb_server", "phone_side"}


def is_long(file_stem: str, fixtures: set[str]) -> bool:
    """Whether a test of a file, which uses these fixtures, is of the long lane."""
    return file_stem in LONG or bool(FIXTURES & fixtures)
