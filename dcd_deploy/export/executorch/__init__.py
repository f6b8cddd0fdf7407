"""ExecuTorch programs: lowered to the XNNPACK delegate in one partition, read back, and counted."""
