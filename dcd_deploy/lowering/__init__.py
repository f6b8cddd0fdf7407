"""From any trained module to its deploy graph: ordinary operators that exporters understand and runtimes run fast.

capture     module → graph (torch.fx, else torch.export); dynamic layers are leaves, each proved
graph       the captured graph: nodes that are modules, with places, shapes and the dynamic layers among them
passes/     what is done to it, each with a contract; one tuple in their order
lowering    one order of computation for one layer; ``channels_first``, ``channels_last``: those of each backend
assemble/   W(x) from the heads, term by term: knows the family, and no runtime
targets     backends on runtimes, and the rates by which a lowering is chosen
"""
