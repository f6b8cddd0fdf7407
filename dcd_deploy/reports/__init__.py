"""Results → tables for people, JSON for machines. The only place that formats a number."""
