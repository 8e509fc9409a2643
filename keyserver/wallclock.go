package keyserver

import (
	"encoding/binary"
	"time"

	"github.com/chanseal/chanseal/channelkey"
	"github.com/chanseal/chanseal/keyserver/audit"
)

// A clock that was set back by as much shuts the door to every card that is good for five
// minutes from its making: the server is not ready then.
const unreadyBehind = channelkey.DefaultEntryWindow

// clockEntries tells the operator if the wall clock was set back since it was looked at
// last, and returns an entry for the record.
func (s *Server) clockEntries(last *time.Duration) []audit.Entry {
	behind := s.clock.Behind().Truncate(time.Second)
	before := *last
	*last = behind
	switch {
	case behind > before+time.Second:
		s.log.Error("keyserver: the clock was set back: time goes on as before; cards that are made by the clock may be refused as over. "+
			"If the clock was wrong before and is right now, start the server anew", "by", behind)
		return []audit.Entry{{Event: "clock", Reason: "set back by " + behind.String()}}
	case behind == 0 && before > 0:
		s.log.Info("keyserver: the clock is no longer behind")
	}
	return nil
}

// sign is a sign of life: how many there were, and the time by this server's clock, in unix
// milliseconds.
func (st *state) sign(beats uint64) []byte {
	b := binary.BigEndian.AppendUint64(nil, beats)
	return binary.BigEndian.AppendUint64(b, uint64(st.s.clock.Now().UnixMilli()))
}

// clocksDiffer is by how much the clock of another server may seem to be off: its sign of
// life is seen up to a beat after it was written, and stores are slow now and then.
const clocksDiffer = 2*beatEvery + time.Second

// compare tells the operator, once, if another server's clock is off from this one's: the
// two would let people in and begin epochs at different times. st.mu is held.
func (st *state) compare(id string, sign []byte) {
	if len(sign) != 16 || id == st.id {
		return
	}
	ahead := time.UnixMilli(int64(binary.BigEndian.Uint64(sign[8:]))).Sub(st.s.clock.Now())
	p := st.peers[id]
	if off := ahead.Abs() > clocksDiffer; off != p.off {
		p.off = off
		st.peers[id] = p
		if off {
			st.s.log.Error("keyserver: another server's clock differs from this one's: set both right", "server", id, "ahead", ahead.Round(time.Second))
		} else {
			st.s.log.Info("keyserver: another server's clock is right again", "server", id)
		}
	}
}
