// Package keyserver hands the secrets of channels to members over HTTPS, and keeps them
// current.
//
// A [Server] is an http.Handler over a [keyring.Ring], which holds the secrets, a
// [channelkey.Gate], which decides who may be inside and until when, and an [audit.Log],
// in which every entry, hand-out, rotation and refusal stands before it takes effect. Its
// interface is the OpenAPI document of package keyserver/api, which it also serves.
//
// # Membership
//
// A channel key opens the door; what comes back is a member token for everything else. A
// member is given the active epoch and the next one, never an older one. Whoever has
// neither a stream nor made a request for Config.ResumeFor has left; until then a resume
// token, good once, brings the membership back without a card.
//
// # Rotation
//
// Whoever goes may know the active epoch and the staged one. So the ring is told, and
// its policy has an epoch made that nobody was handed before: at once when a member is
// put out (the end of service, a revocation), and after a debounce when one leaves. It is
// handed out at once, and becomes active after the policy's delay, so that nobody loses a
// frame. The order that keeps it closed is: the member is
// marked as out, then the epoch is drawn, and whoever is about to hand out an epoch looks
// for the mark after taking the epoch, not before.
//
// # Several servers
//
// With Config.Shared the inside list, the sender numbers in use and the revocations lie
// on a shelf of the ring: servers on one store serve the same members. See state.go.
//
// Logs, metrics and the audit record name members and channels by opaque IDs; no secret,
// name or address stands in them.
package keyserver
