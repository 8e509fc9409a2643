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
// Whoever goes may know the active epoch and the staged one. So a channel gets a fresh
// epoch, which nobody was handed before, at once when a member is put out (the end of
// service, a revocation), and within Config.LeaveDelay when one leaves; leaves within that
// time share a rotation. The order that keeps the next epoch closed is: the member is
// marked as out, then the epoch is drawn, and whoever is about to hand out an epoch looks
// for the mark after taking the epoch, not before.
//
// Logs, metrics and the audit record name members and channels by opaque IDs; no secret,
// name or address stands in them.
package keyserver
