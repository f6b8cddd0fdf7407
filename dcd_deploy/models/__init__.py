"""Networks in train form, and what is known of them.

geometry, dynamic           the dynamic layers: sizes and train form
mobilenetv2, resnet         the networks, dynamic and static, under upstream key names
spec, registry              what a network is; networks by name
checkpoint, infer, fit      a file → its tensors → which network they are → the network
sizes, inspection           maps, multiply-adds and parameters
"""
