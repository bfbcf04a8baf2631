"""Queries before rotation, of attention modules without a norm."""


def get_prerope_query_states(module, hidden_states):
    batch, tokens, _ = hidden_states.shape
    queries = module.q_proj(hidden_states).view(batch, tokens, -1, module.head_dim)
    return queries.transpose(1, 2)
