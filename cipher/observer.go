package cipher

import (
	"errors"
	"sync"
)

// MaxPacket is the longest packet in bytes that a packet observer may leave behind.
const MaxPacket = 1200

// Packet is what a packet observer is given, and changes.
type Packet struct {
	// Buffer is the packet. The observer may change its bytes or put another
	// slice in its place, which must stay as it is until the callback's next call.
	Buffer []byte
}

// PacketObserver is the shape in which the vendor's media SDK takes custom encryption
// (IPacketObserver): four callbacks that change a packet and return false to drop it.
type PacketObserver interface {
	OnSendAudioPacket(*Packet) bool
	OnSendVideoPacket(*Packet) bool
	OnReceiveAudioPacket(*Packet) bool
	OnReceiveVideoPacket(*Packet) bool
}

// Stream says which pair of an observer's callbacks a key is for.
type Stream uint8

// The two streams of an observer.
const (
	Audio Stream = iota
	Video
)

// ErrDropped: a packet observer asked for the packet to be dropped, or left one longer
// than MaxPacket.
var ErrDropped = errors.New("cipher: packet observer dropped the packet")

// ObserverSealer makes a Sealer and an Opener of an observer's callbacks for one
// stream, so that code written for that SDK serves as a [Hook]: return them from
// Hook.New. An observer is not told the additional data and cannot authenticate it:
// set Hook.Inside. extra is the most bytes by which it lengthens a packet. Packets are
// copied before the observer sees them.
//
// The callbacks run one at a time for the observer's sake if it is not safe for
// concurrent use; that is the observer's to see to.
func ObserverSealer(o PacketObserver, stream Stream, extra int) (Sealer, Opener) {
	if stream == Audio {
		return &observed{callback: o.OnSendAudioPacket, extra: extra}, &observed{callback: o.OnReceiveAudioPacket, extra: extra}
	}
	return &observed{callback: o.OnSendVideoPacket, extra: extra}, &observed{callback: o.OnReceiveVideoPacket, extra: extra}
}

// observed is one callback.
type observed struct {
	mu       sync.Mutex
	callback func(*Packet) bool
	extra    int
}

func (o *observed) Overhead() int { return o.extra }

func (o *observed) Seal(dst, frame, _ []byte) ([]byte, error) { return o.run(dst, frame) }
func (o *observed) Open(dst, sealed, _ []byte) ([]byte, error) {
	return o.run(dst, sealed)
}

func (o *observed) run(dst, in []byte) ([]byte, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	p := Packet{Buffer: append([]byte(nil), in...)}
	if !o.callback(&p) || len(p.Buffer) > MaxPacket {
		return dst, ErrDropped
	}
	return append(dst, p.Buffer...), nil
}

// Observer is a PacketObserver made of sealers and openers, such as those of a
// keyring: the other way round. A nil field drops its packets, as does any error: the
// callback returns false and leaves an empty packet, so that nothing gets out in clear
// even where that is not heeded.
type Observer struct {
	SendAudio, SendVideo       Sealer
	ReceiveAudio, ReceiveVideo Opener
}

// OnSendAudioPacket seals the packet.
func (o *Observer) OnSendAudioPacket(p *Packet) bool { return sealPacket(o.SendAudio, p) }

// OnSendVideoPacket seals the packet.
func (o *Observer) OnSendVideoPacket(p *Packet) bool { return sealPacket(o.SendVideo, p) }

// OnReceiveAudioPacket opens the packet.
func (o *Observer) OnReceiveAudioPacket(p *Packet) bool { return openPacket(o.ReceiveAudio, p) }

// OnReceiveVideoPacket opens the packet.
func (o *Observer) OnReceiveVideoPacket(p *Packet) bool { return openPacket(o.ReceiveVideo, p) }

func sealPacket(s Sealer, p *Packet) bool {
	in := p.Buffer
	p.Buffer = nil
	if s == nil {
		return false
	}
	out, err := s.Seal(nil, in, nil)
	if err != nil || len(out) > MaxPacket {
		return false
	}
	p.Buffer = out
	return true
}

func openPacket(o Opener, p *Packet) bool {
	in := p.Buffer
	p.Buffer = nil
	if o == nil {
		return false
	}
	out, err := o.Open(nil, in, nil)
	if err != nil {
		return false
	}
	p.Buffer = out
	return true
}
