// Package rtpseal carries SFrame over RTP, as draft-ietf-avtcore-rtp-sframe has it.
//
// The first byte of every RTP payload is a [Descriptor]: whether the packet begins a
// sealed unit (S), ends it (E), and what was sealed: a whole frame (T=0) or the payload
// of one RTP packet (T=1). Nothing here looks into a codec.
//
//   - A [Packetizer] cuts sealed units into RTP packets, a [Depacketizer] puts them
//     together again, in whatever order packets come, and bounded in packets, bytes and
//     age. Neither knows a key.
//   - A [Receiver] adds the opening: it keeps units whose key is still to come, for a
//     while, and delivers each frame once.
//   - A [Sealing] and an [Opening] turn RTP packets into sealed ones and back, for
//     programs that know nothing of it; a [Gateway] does that between sockets.
//   - [Keys] are base keys given from outside, shared by all streams or derived for each
//     SSRC, which both sides have to state.
//   - [OfferSFrame], [AnswerSFrame] and [SFrameRefused] are the attribute by which two sides
//     agree on it in session descriptions.
//
// What travels beside the payload is in clear and not authenticated, as the draft has
// it: the RTP header with its extensions, and RTCP. What a sealed unit holds opens once
// or not at all.
package rtpseal
