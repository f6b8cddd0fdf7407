"""Which tests `make test` leaves to `make test-long`, and which both leave to `make test-exhaustive`.

    make test              Python's packages alone
    make test-long         programs beyond them (devices, emulation, browsers, compilers), each format once more in full
    make test-exhaustive   every option beside every other, every published network: many exports that hold one
                           another's results; before a release, and after a change of the lowerings

A file is named here, or a test bears the mark, or it uses a fixture that starts a server.
"""

LONG = {
    "devices: sshd, adb, emulated cores": (
        "across_devices adb adb_commands adb_holding adb_runners device_cache emulated "
        "emulated_executorch fleets ssh ssh_fleet ssh_lacking ssh_setup ssh_tuning"
    ),
    "processors by emulation, the old interpreter": "x86_processors tflite_interpreters",
    "browsers, compilers": "apps_web apps_cpp",
    "formats": (
        "ahead executorch export_module int8 litert_compiled litert_compiled_lacking onnx opsets own_network_page "
        "tflite without_xnnpack"
    ),
}
EXHAUSTIVE = {
    "devices: what breaks, what is refused, the runners of phones": (
        "adb_native adb_python emulated_guests evaluate_command ssh_lost ssh_refused"
    ),
    "options beside options": (
        "cli_endings cli_tuning float16 for_runtime int8_faults int8_generated int8_silent int8_tflite "
        "litert_compiled_commands ort_files own_files own_networks own_networks_int8 photographs_export raw_bytes "
        "recorded recording rewritten_files small_files small_weights trials tuning tuning_choice"
    ),
    "compilers for phones": "apps_android",
    "networks, layers and layouts": (
        "deploy_form dynamic_timm in_blocks lay_out_tflite mixtures_in_blocks networks node_names own_sizes profile "
        "recognise sweep tflite_gate untold"
    ),
}
# Files of few tests that take long: two processes share the files, and these would otherwise be left for the end
FIRST = (
    "emulated documentation x86_processors executorch ssh own_network_page ssh_tuning gate runtimes_command "
    "runtime_environments cli lowerings"
)
FIXTURES = {"board", "adb_server", "phone_side"}


def _files(groups: dict[str, str]) -> set[str]:
    return {f"test_{stem}" for stems in groups.values() for stem in stems.split()}


def place_of(file_stem: str) -> int:
    """Return where a file stands in the order of a run."""
    names = [f"test_{stem}" for stem in FIRST.split()]
    return names.index(file_stem) if file_stem in names else len(names)


def lane_of(file_stem: str, fixtures: set[str], marks: set[str]) -> str | None:
    """Return the mark of a test of a file, which uses these fixtures and bears these marks; None is `make test`."""
    for lane, named in (("exhaustive", _files(EXHAUSTIVE)), ("long", _files(LONG))):
        if lane in marks or file_stem in named:
            return lane
    return "long" if FIXTURES & fixtures else None
