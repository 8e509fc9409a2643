// Package sealedfile writes, opens and inspects the sealed media file: a Matroska file
// (RFC 9559) in which every frame is an SFrame ciphertext (RFC 9605).
//
// Any Matroska tool can list a sealed file: tracks, dimensions, rates, timing,
// durations and keyframes are in clear, under the codec IDs V_CHANSEAL, A_CHANSEAL and
// S_CHANSEAL. What the frames say, how they are coded, titles, tags, chapters,
// attachments, dates and identifiers are sealed. The layout:
//
//	EBML header, Segment, Info, Tracks      in clear, authenticated by the header record
//	Tags: header record                     format, Info, the first elements
//	Tags: element records                   the container's other elements, in pieces
//	Cluster: SimpleBlock or BlockGroup …    one sealed frame each
//	Tags: segment record                    where a new key takes over
//	Tags: end record                        frames of each track, duration
//
// Everything sealed counts on under one KID without a gap, so that a frame that is
// missing, moved, repeated or foreign shows in the structure; the additional data of
// each binds it to its file, track and time, so that nothing can be exchanged. The
// Writer writes every element in one form only and the Reader accepts no other: there
// is no bit in a sealed file that could be changed unnoticed.
package sealedfile
