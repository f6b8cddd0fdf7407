"""Which lowering each dynamic layer gets, decided by measuring on the device that will run it.

layer_case     the layers of a network in groups of one shape
layer_model    one such layer in one lowering, with what stands around it, as a network
layer_file     that as a model file, in a precision
layer_times    the lowerings of one shape measured in turns, cached
runtimes       the targets that can be tuned for, and the runtime of each
lowering_file  the result as a small file, that an export takes
forecast       what the cost model says of every lowering, without measuring
tune           all of it for a network; which lowering the measurements allow to choose
"""
