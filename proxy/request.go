package proxy

import (
	"github.com/pion/stun/v4"
	"github.com/pion/turn/v5"
)

// request is what pion/turn handles now, of a front or a stream; it handles one of each
// at a time.
type request struct {
	b         []byte // as it came
	peerPort  uint16 // of ChannelBind: permissions are for addresses, only a channel names the port that the policy is asked about as well
	forbidden bool   // the policy refused its peer
}

func (q *request) begin(b []byte) {
	*q = request{b: b}
	if stunType(b) != typeChannelBind {
		return
	}
	if peer, ok := peerAddress(b); ok {
		q.peerPort = peer.Port()
	}
}

// answer returns what to send for what pion/turn answers. A channel to a forbidden peer
// is 403 (RFC 8656, Section 12.2), under the client's key as all answers to who has
// authenticated; pion/turn v5.1.1 says 401 without one, which to a client means that its
// credentials are bad.
func (s *Server) answer(q *request, b []byte) []byte {
	if !q.forbidden || len(b) < stunHeaderLen || stunType(b) != typeChannelRefused {
		return b
	}
	if _, asks := attribute(b, uint16(stun.AttrNonce)); asks {
		return b // a true 401 or 438
	}
	username, _ := attribute(q.b, uint16(stun.AttrUsername))
	_, key, ok := s.auth(&turn.RequestAttributes{Username: string(username)})
	if !ok {
		return b
	}
	m := &stun.Message{Type: stun.NewType(stun.MethodChannelBind, stun.ClassErrorResponse)}
	copy(m.TransactionID[:], b[8:])
	m.WriteHeader()
	if (stun.ErrorCodeAttribute{Code: stun.CodeForbidden, Reason: []byte("Forbidden")}).AddTo(m) != nil || stun.MessageIntegrity(key).AddTo(m) != nil {
		return b
	}
	return m.Raw
}

// typeChannelRefused is the type of an error response to ChannelBind.
const typeChannelRefused = typeChannelBind | 0x0110
