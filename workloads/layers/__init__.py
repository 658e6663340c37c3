"""Parts that several model families share: attention, feed-forward networks, experts, the decoder frame."""
