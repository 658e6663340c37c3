"""Pictures of Results: what each one shows (plain numbers) and how it is drawn (matplotlib)."""
