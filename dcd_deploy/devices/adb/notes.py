"""What is to be known of every number that was measured over adb."""

IN_THE_SHELL = "measured in the phone's shell, where Android schedules a program differently than an app in front"
EXPERIMENTAL = (
    "experimental: measured by a portable bundle (Debian's Python and C library with their own loader), "
    "which no phone has confirmed"
)
