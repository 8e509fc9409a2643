package cipher

import (
	"bytes"
	"fmt"
)

// Hook describes a whole frame cipher of the application's own for [NewHook]: one
// that is no AEAD, or that finds its nonces itself.
type Hook struct {
	Name    string  // as it is asked for and reported
	ID      SuiteID // MinCustomID or above; bound into every key
	KeySize int     // bytes, 16 to 256
	Extra   int     // the most bytes by which its output is longer than the frame, 0 to 1024
	// New makes the two halves for one KID: one sender of one epoch of one channel.
	// key is KeySize bytes that nobody else gets; it is cleared afterwards. As aad
	// the halves are given header ‖ additional data, and the header, with KID and
	// CTR, differs from frame to frame. Their results are never shorter than the
	// frame nor longer than Extra allows, and are appended to dst.
	New func(kid KeyID, key []byte) (Sealer, Opener, error)
	// Inside, if set, seals the hook's output again: the frame is then as secure
	// as that suite, whatever the hook does.
	Inside *Suite
}

// maxExtra bounds Hook.Extra in bytes.
const maxExtra = 1024

// NewHook makes a suite of a frame cipher of the application's own. The package
// writes the SFrame header in front of its output and keeps the replay window and the
// counting; it refuses output that equals its input (frames of 16 bytes and more; and
// without Inside also output that begins with it) or has the wrong length, and turns
// a panic into an error. Without Inside nothing vouches for the frames but the hook:
// see [Suite.Authentication].
func NewHook(h Hook) (*Suite, error) {
	s, err := customSuite(h.ID, h.Name, h.KeySize, nil)
	if err != nil {
		return nil, err
	}
	if h.Extra < 0 || h.Extra > maxExtra {
		return nil, fmt.Errorf("cipher: hook %q: extra of %d bytes, want 0 to %d", h.Name, h.Extra, maxExtra)
	}
	if h.New == nil {
		return nil, fmt.Errorf("cipher: hook %q: New is missing", h.Name)
	}
	if h.Inside != nil && h.Inside.custom {
		return nil, fmt.Errorf("cipher: hook %q: Inside has to be a built-in suite, not %q", h.Name, h.Inside.name)
	}
	s.variable = true
	s.overhead = h.Extra
	s.inside = h.Inside
	if h.Inside != nil {
		s.overhead += h.Inside.overhead
		s.keySize += h.Inside.BaseKeySize()
	}
	s.new = func(s *Suite, kid KeyID, key, _ []byte) (core, error) { return newHookCore(h, kid, key) }
	// One key, to try the hook out.
	c, err := s.new(s, 0, make([]byte, s.keySize), nil)
	if err != nil {
		return nil, err
	}
	c.wipe()
	return s, nil
}

// hookCore runs a hook, and the suite round it if there is one.
type hookCore struct {
	sealer Sealer
	opener Opener
	extra  int
	inside core // nil: none
	tag    int  // the inside suite's
}

// newHookCore divides the key that the key schedule made: the hook's own, then the
// base key of the suite inside. They are blocks of one HKDF-Expand, so that neither
// can be computed from the other.
func newHookCore(h Hook, kid KeyID, key []byte) (core, error) {
	c := &hookCore{extra: h.Extra}
	if h.Inside != nil {
		inner, err := h.Inside.newCore(kid, key[h.KeySize:])
		if err != nil {
			return nil, err
		}
		c.inside, c.tag = inner, h.Inside.overhead
	}
	if err := c.make(h, kid, key[:h.KeySize]); err != nil {
		return nil, fmt.Errorf("cipher: hook %q: making a key: %w", h.Name, err)
	}
	return c, nil
}

func (c *hookCore) make(h Hook, kid KeyID, key []byte) (err error) {
	defer func() {
		if recover() != nil {
			err = ErrHook
		}
	}()
	if c.sealer, c.opener, err = h.New(kid, key); err == nil && (c.sealer == nil || c.opener == nil) {
		err = ErrHook
	}
	return err
}

func (c *hookCore) seal(dst, src []byte, ctr uint64, s *scratch) (int, error) {
	room := s.hookRoom(len(src) + c.extra)
	defer clear(room)
	out, ok := c.callSealer(room, src, s.aad)
	if !ok || len(out) < len(src) || len(out) > len(src)+c.extra || c.passes(out, src) {
		return 0, ErrHook
	}
	n := copy(dst, out)
	if c.inside == nil {
		return n, nil
	}
	return c.inside.seal(dst[:n+c.tag], dst[:n], ctr, s)
}

// passes reports whether the hook let the frame through as it was.
func (c *hookCore) passes(out, src []byte) bool {
	if len(src) < 16 {
		return false
	}
	if c.inside == nil {
		return bytes.HasPrefix(out, src)
	}
	return bytes.Equal(out, src)
}

func (c *hookCore) open(dst, src []byte, ctr uint64, s *scratch) (int, bool) {
	if c.inside != nil {
		if len(src) < c.tag {
			return 0, false
		}
		n, ok := c.inside.open(dst[:len(src)-c.tag], src, ctr, s)
		if !ok {
			return 0, false
		}
		src = dst[:n]
	}
	room := s.hookRoom(len(src))
	defer clear(room)
	out, ok := c.callOpener(room, src, s.aad)
	if !ok || len(out) > len(src) || len(out) < len(src)-c.extra {
		return 0, false
	}
	return copy(dst, out), true
}

// hookRoom is n bytes for a hook to append to: in place, dst and the frame are the same
// bytes, which its contract does not allow for. The room goes back to a pool that all
// keys share, so that it is cleared after use; and a hook that returns other memory
// than this keeps it to itself.
func (s *scratch) hookRoom(n int) []byte {
	if cap(s.hook) < n {
		s.hook = make([]byte, n)
	}
	return s.hook[:n:n]
}

func (c *hookCore) callSealer(room, src, aad []byte) (out []byte, ok bool) {
	defer func() {
		if recover() != nil {
			out, ok = nil, false
		}
	}()
	out, err := c.sealer.Seal(room[:0], src, aad)
	return out, err == nil && !overlaps(out, src)
}

func (c *hookCore) callOpener(room, src, aad []byte) (out []byte, ok bool) {
	defer func() {
		if recover() != nil {
			out, ok = nil, false
		}
	}()
	out, err := c.opener.Open(room[:0], src, aad)
	return out, err == nil && !overlaps(out, src)
}

// wipe clears the inside suite; what the hook holds is the hook's.
func (c *hookCore) wipe() {
	if c.inside != nil {
		c.inside.wipe()
	}
}
