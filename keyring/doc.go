// Package keyring keeps the secrets of channels and hands out what seals and
// opens their frames.
//
// A [Ring] holds channels. A [Channel] holds epochs, each with a random secret
// of its own. A [Sender] seals under the active epoch and a [Receiver] opens
// what members of the channel sealed; both follow rotations by themselves,
// whichever process made them:
//
//	ch, err := ring.Channel(ctx, "stage")
//	sender, err := ch.Sender(ctx, 1, keyring.SenderOptions{})
//	sealed, err := sender.Seal(nil, frame, nil)
//
// # An epoch's life
//
// staged (opens) → active (seals) → retiring (live Receivers still accept it,
// for the policy's grace) → archived (live Receivers refuse it; files and
// recordings open) → forgotten (its secret is destroyed). Rotating archives;
// only forgetting destroys.
//
// # Keys
//
// No key is used by two Senders. A Sender draws a random instance number of 40
// bits for itself and every epoch, and the ring's [Store] records it durably
// before the first frame; its frames carry the key ID
//
//	KID = instance(40 bits) ‖ sender(16 bits) ‖ epoch mod 2^8
//
// and its base key is derived from the epoch's secret, bound to all of it:
//
//	base_key = HKDF-Expand(HKDF-Extract("", epoch_secret), "chanseal 1 base key" ‖
//	           str(channel) ‖ BE64(epoch) ‖ BE16(suite) ‖ BE64(sender) ‖ BE64(instance), Nh)
//
// where str(x) is BE16(length of x in bytes) ‖ x, and hash and Nh are the
// suite's. The key and the salt follow from it by RFC 9605, Section 4.4.2. Two
// Senders with the same number on the same ring never share an instance; on two
// copies of a ring that each made n Senders in one epoch, they do with a
// probability of at most n²/2^40.
//
// # At rest
//
// A random root key, wrapped by one or more [KEK]s, protects the ring. Each
// record is sealed under a key of its own, derived from the root key and bound
// to the record's kind, name and revision. Names of channels are stored only
// inside sealed records; store keys show a keyed hash of them.
package keyring
