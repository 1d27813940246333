"""HTTP as every route speaks it: bounded bodies, answers, events, addresses of others."""
