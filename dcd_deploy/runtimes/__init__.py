"""Running an exported model in an app: numpy and one runtime, never torch."""

from dcd_deploy.runtimes.choice import SlowRuntimeWarning
from dcd_deploy.runtimes.model import Model, Prediction, open_model
from dcd_deploy.runtimes.saturation import OtherNumbersWarning
from dcd_deploy.runtimes.selfcheck import SelfCheck, self_check

__all__ = ["Model", "OtherNumbersWarning", "Prediction", "SelfCheck", "SlowRuntimeWarning", "open_model", "self_check"]
