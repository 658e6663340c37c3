"""What runs: operators, traces, LLM configurations and request logs."""
