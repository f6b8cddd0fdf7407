"""The deploy form: the same function as the train form, without BatchNorm, in an order that is cheap to compute.

y = λ' ⊙ (W0' * x) + P' (Φ' (Q' x + t1) + t2) + t

fold            every BatchNorm and the "+ q" into the weights, in float64
form            what a form is (an order of computation, spelled for a runtime), and what it costs
channels_first  the forms for onnxruntime, a file each
channels_last   the forms for TFLite, a file each
target          a runtime on a kind of machine, and its rule
targets         those that there are, with the rates that decide
network         the whole network, layer by layer
"""
