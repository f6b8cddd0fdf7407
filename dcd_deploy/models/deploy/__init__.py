"""The deploy form: the same function as the train form, without BatchNorm, in an order that is cheap to compute.

y = λ' ⊙ (W0' * x) + P' (Φ' (Q' x + t1) + t2) + t

fold                  every BatchNorm and the "+ q" into the weights, in float64
attention             from the layer's input to Φ', λ' and a'
branch, half, kernel  the orders of computation, a file each
cost                  what each order costs, and so which one ``auto`` takes
network               the whole network, layer by layer
"""
