package keyring

// SetDraw replaces how a ring draws instance numbers.
func SetDraw(r *Ring, draw func() uint64) { r.draw = draw }
