"""The accuracy of model files on labelled images, beside the network that they were made from.

    images → shard → chunks → workers: read, run every model → exact counts → result

Counts are whole numbers and exact sums, so that parts add up to the whole, whoever counted them.
"""
