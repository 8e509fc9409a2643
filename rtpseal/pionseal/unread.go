package pionseal

import (
	"time"

	"github.com/chanseal/chanseal/cipher"
	"github.com/chanseal/chanseal/rtpseal"
)

// unreadAge is how long a packet that was opened waits to be read. With the time that it
// may have waited for its key before, this stays below rtpseal.MaxAge.
const unreadAge = 2 * time.Second

// unread are packets that were opened and not read yet: several at a time, when others
// waited for the same key. All are of one goroutine at a time.
type unread struct {
	packets rtpseal.Packets
	given   int       // how many were read
	origins []origin  // of the packets
	now     time.Time // when what comes is opened
}

// origin says where a packet came from.
type origin struct {
	kid  cipher.KeyID
	at   time.Time // when it was opened
	gone bool      // it was wiped
}

// noting notes under which key ID each packet opens.
type noting struct {
	opener rtpseal.StreamOpener
	to     *unread
}

func (n noting) OpenStream(ssrc uint32, dst, sealed []byte) ([]byte, error) {
	h, _, parsed := cipher.ParseHeader(sealed)
	out, err := n.opener.OpenStream(ssrc, dst, sealed)
	if err == nil && parsed == nil {
		n.to.note(h.KID)
	}
	return out, err
}

// note notes the origin of the packet that is next to be appended; if none is (a whole
// frame is no packet), that of the one that is takes its place.
func (u *unread) note(kid cipher.KeyID) {
	u.origins = append(u.origins[:min(len(u.origins), u.packets.Len())], origin{kid: kid, at: u.now})
}

// next returns the next packet, and nil if there is none. It is valid until forget.
func (u *unread) next() []byte {
	for u.given < u.packets.Len() {
		i := u.given
		u.given++
		if !u.origins[i].gone {
			u.origins[i].gone = true
			return u.packets.At(i)
		}
	}
	u.wipe()
	return nil
}

// left reports whether there are any.
func (u *unread) left() bool { return u.given < u.packets.Len() }

// drop wipes the packets for which which reports true, and returns how many.
func (u *unread) drop(which func(origin) bool) (n int) {
	left := false
	for i := u.given; i < u.packets.Len(); i++ {
		o := &u.origins[i]
		if !o.gone && which(*o) {
			clear(u.packets.At(i))
			o.gone = true
			n++
		}
		left = left || !o.gone
	}
	if !left {
		u.wipe()
	}
	return n
}

// wipe drops all.
func (u *unread) wipe() {
	u.packets.Wipe()
	u.given, u.origins = 0, u.origins[:0]
}
