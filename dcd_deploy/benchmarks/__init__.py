"""Latency of a model beside a baseline, measured interleaved, with its uncertainty."""
