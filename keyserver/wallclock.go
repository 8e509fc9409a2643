package keyserver

import (
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
