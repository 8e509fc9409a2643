// Package channelkey mints, reads and verifies channel keys, the cards that open
// the door of a media channel, in every generation that is in use: the dynamic
// keys dk1 to dk5, signaling tokens, and the access tokens 006 and 007. A [Gate]
// decides with them who may be inside a channel, and until when.
//
//	issuer, err := channelkey.NewIssuer(app, channelkey.Legacy{})
//	key, err := issuer.Mint(channelkey.Card{Format: channelkey.DK4, Channel: "room",
//		User: channelkey.UID(123), Issued: now, Random: channelkey.NewRandom()})
//
//	verifier, err := channelkey.NewVerifier(app, channelkey.Policy{})
//	grant, err := verifier.Verify(key, channelkey.Claims{Channel: "room", User: channelkey.UID(123)})
//	if errors.Is(err, channelkey.EntryOver) { … }
//
// # What a format proves
//
// All but 007 leave something out. [Parse] shows what a text says, [Card.Unproven]
// what it does not say, and [Card.Warnings] how weak its format is:
//
//	format     signature     tells                          signs besides
//	dk1        HMAC-SHA1     time of issue                  channel (any user)
//	dk2, dk3   HMAC-SHA1     uid, end of service            channel (not the version)
//	dk4        HMAC-SHA1     end of service                 channel, uid, service
//	dk5        HMAC-SHA1     service, end, permissions      channel, uid
//	signaling  MD5           end                            account
//	006        HMAC-SHA256   privileges, two CRC-32         channel and user, run together
//	007        HMAC-SHA256   services with channel and user
//
// A key of these formats is a bearer token: whoever copies it can use it as long as
// it is good. Only the Gate notices a second use.
//
// # Refusals
//
// A refusal has one [Reason]. Where a format signs several things without telling
// them, it is [NotAuthentic], and [Refusal.Suspects] lists what may differ. The
// vendor reports numbers instead, and one number means different things in its
// native SDKs and in its old Web SDK; [Reason.NativeCode] and [Reason.WebCode] are
// this table:
//
//	reason              native  old Web
//	malformed           110     110
//	unknown-format      110     110
//	format-forbidden    110     110
//	static-app-id       110     120  (119 and 120 are roles and decryption natively)
//	key-for-static-app  110     119
//	other-app           110     110
//	wrong-certificate   110     110
//	not-authentic       110     110
//	other-channel       110     110
//	other-user          110     110
//	other-service       110     110
//	unknown-service     110     110
//	bad-channel         102     -
//	bad-user            121     117
//	wildcard-forbidden  110     110
//	not-yet-valid       110     110
//	entry-over          109     109
//	service-ended       109     118
//	privilege-missing   110     110
//	privilege-expired   109     118
//	unsafe-splice       110     110
//	unsafe-collision    110     110
//	unsafe-padding      110     110
//	already-inside      -       -
//	replayed            110     110
//	revoked             123     -
//	superseded          -       -
//	not-inside          -       -
//	full                -       -
//	clock-set-back      -       -
//
// # Strictness
//
// The zero [Legacy] is strict. It refuses what cannot be told apart from a forgery
// by looking at it: a 006 whose channel name ends in a digit or whose user is a
// text account, a dk1 for a channel name that reads as channel, uid and expiry of a
// dk2, a short App ID filled up with NUL. The other side of such a pair (the dk2,
// the 006 for a name without digits) is accepted: it is safe as long as nobody
// issues the refused side, which a strict [Issuer] does not.
//
// Reasons are given before and after the signature is checked: a refusal proves
// nothing about who wrote the key. Signatures are compared in constant time.
//
// The package imports the standard library only.
package channelkey
