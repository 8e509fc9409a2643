package cipher

// OpenAny opens a frame under the first of several keys of its KID under which it
// authenticates, and says which that is. It is for KIDs so short that several senders
// share one; the keys are to be few, since each is tried.
//
// A frame that opens is no forgery: those keys that it did not authenticate under before
// do not count it as a failure ([OpenKey.Failures]). Otherwise two honest senders would
// use up each other's keys where tags are short. A frame that opens under none counts
// for every key that was tried, because each of them could have let it pass.
//
// The error is [ErrReplayed], [ErrShort] or [ErrMalformed] if that is what any of the
// keys says, or else that of the last; [ErrUnknownKey] if there are none. On an error
// dst comes back at its old length.
func OpenAny(keys []*OpenKey, dst, sealed, aad []byte) (out []byte, which int, err error) {
	err = ErrUnknownKey
	final := false
	var failed uint64 // keys that counted it, a bit each
	for i, k := range keys {
		out, openErr := k.Open(dst, sealed, aad)
		if openErr == nil {
			for j := range min(i, 64) {
				if failed>>j&1 != 0 {
					keys[j].failures.Add(^uint64(0))
				}
			}
			return out, i, nil
		}
		if openErr == ErrAuth && i < 64 {
			failed |= 1 << i
		}
		if !final {
			err = openErr
		}
		final = final || openErr == ErrReplayed || openErr == ErrShort || openErr == ErrMalformed
	}
	return dst, -1, err
}
