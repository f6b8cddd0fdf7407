"""What a dynamic convolution is, whatever network it stands in and whoever trained it.

operator    the canonical operator: an attention with named heads, and terms of the kernel that they weigh
attention   from the layer's input to the values of the heads
canonical   the operator as a module, in the plainest order: what everything else is compared with
folds       exact folds: a norm behind the layer, gains of activations; the static twin
shape       the sizes of an operator, hashable: what a cost and a measurement are looked up by
adapters/   a file for each family: from a foreign module to the canonical operators it may be, by the parts it holds
subject     a copy of a foreign module, for trying it
proof       an adapter is believed only when its operator equals the module, in float64, on random inputs
recognise   a foreign module → its canonical operator, of whichever family, or a refusal
"""
