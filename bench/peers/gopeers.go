package main

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"io"

	"filippo.io/age"
	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"
	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/streamingaead"
	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/chanseal/chanseal/bench"
	"github.com/chanseal/chanseal/cipher"
)

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

// goPeers are other Go libraries, each used as its documentation says, with what it
// offers to save allocations.
func goPeers() []bench.Pair {
	return []bench.Pair{
		srtpPair("pion-srtp-aes-128-gcm", srtp.ProtectionProfileAeadAes128Gcm),
		srtpPair("pion-srtp-aes-cm-sha1-80", srtp.ProtectionProfileAes128CmHmacSha1_80),
		tinkPair(), tinkStreamingPair(), agePair(),
	}
}

// srtpPair is an SRTP session: the frame is the payload of an RTP packet, whose header
// of 12 bytes stands for the additional data.
func srtpPair(name string, profile srtp.ProtectionProfile) bench.Pair {
	return bench.Pair{Name: name, Plain: true, Promises: bench.Promises{Authenticates: true, ReplaySafe: true, Additional: true, Overhead: 16},
		Fresh: func() (cipher.Sealer, cipher.Opener, error) {
			keyLen, err := profile.KeyLen()
			if err != nil {
				return nil, nil, err
			}
			saltLen, err := profile.SaltLen()
			if err != nil {
				return nil, nil, err
			}
			key, salt := random(keyLen), random(saltLen)
			seal, err := srtp.CreateContext(key, salt, profile)
			if err != nil {
				return nil, nil, err
			}
			open, err := srtp.CreateContext(key, salt, profile, srtp.SRTPReplayProtection(1024))
			if err != nil {
				return nil, nil, err
			}
			s := &srtpHalf{context: seal}
			return s, &srtpHalf{context: open}, nil
		}}
}

const rtpHeader = 12

// srtpHalf is the sending or the receiving end of a session.
type srtpHalf struct {
	context  *srtp.Context
	header   rtp.Header // given to the library, which otherwise allocates one a packet
	packet   []byte     // header and payload, as an application has them
	of       *byte      // the frame that lies in packet
	sequence uint16
}

func (*srtpHalf) Overhead() int { return rtpHeader + 16 }

func (s *srtpHalf) Seal(dst, frame, _ []byte) ([]byte, error) {
	if len(s.packet) != rtpHeader+len(frame) || s.of != &frame[0] {
		s.packet = append(append(s.packet[:0], 0x80, 96, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1), frame...)
		s.of = &frame[0]
	}
	s.sequence++
	binary.BigEndian.PutUint16(s.packet[2:], s.sequence)
	return s.context.EncryptRTP(dst, s.packet, &s.header)
}

// Open returns the payload.
func (s *srtpHalf) Open(dst, sealed, _ []byte) ([]byte, error) {
	out, err := s.context.DecryptRTP(dst, sealed, &s.header)
	if err != nil {
		return dst, err
	}
	return out[rtpHeader:], nil
}

func tinkPair() bench.Pair {
	return bench.Pair{Name: "tink-aes-128-gcm", Plain: true, Promises: bench.Promises{Authenticates: true, Additional: true, Overhead: 33},
		Fresh: func() (cipher.Sealer, cipher.Opener, error) {
			handle, err := keyset.NewHandle(aead.AES128GCMKeyTemplate())
			if err != nil {
				return nil, nil, err
			}
			a, err := aead.New(handle)
			return tinkAEAD{a}, tinkAEAD{a}, err
		}}
}

type tinkAEAD struct{ a tink.AEAD }

func (tinkAEAD) Overhead() int { return 33 }

func (t tinkAEAD) Seal(_, frame, aad []byte) ([]byte, error)  { return t.a.Encrypt(frame, aad) }
func (t tinkAEAD) Open(_, sealed, aad []byte) ([]byte, error) { return t.a.Decrypt(sealed, aad) }

func tinkStreamingPair() bench.Pair {
	return bench.Pair{Name: "tink-streaming-gcm-4k", Plain: true, Promises: bench.Promises{Authenticates: true, Additional: true, Overhead: 40},
		Fresh: func() (cipher.Sealer, cipher.Opener, error) {
			handle, err := keyset.NewHandle(streamingaead.AES128GCMHKDF4KBKeyTemplate())
			if err != nil {
				return nil, nil, err
			}
			a, err := streamingaead.New(handle)
			return tinkStream{a}, tinkStream{a}, err
		}}
}

type tinkStream struct{ a tink.StreamingAEAD }

// Overhead is more than any frame here takes: a tag for each 4 KiB.
func (tinkStream) Overhead() int { return 64 << 10 }

func (t tinkStream) Seal(dst, frame, aad []byte) ([]byte, error) {
	out := bytes.NewBuffer(dst)
	w, err := t.a.NewEncryptingWriter(out, aad)
	if err != nil {
		return dst, err
	}
	if _, err := w.Write(frame); err != nil {
		return dst, err
	}
	err = w.Close()
	return out.Bytes(), err
}

func (t tinkStream) Open(dst, sealed, aad []byte) ([]byte, error) {
	r, err := t.a.NewDecryptingReader(bytes.NewReader(sealed), aad)
	if err != nil {
		return dst, err
	}
	return readAll(dst, r)
}

// agePair is a file of its own for each frame, with its X25519 exchange: that is what
// age is made for, and its stream alone is not public.
func agePair() bench.Pair {
	return bench.Pair{Name: "age-x25519-file", Plain: true, Promises: bench.Promises{Authenticates: true, Overhead: 232},
		Fresh: func() (cipher.Sealer, cipher.Opener, error) {
			id, err := age.GenerateX25519Identity()
			if err != nil {
				return nil, nil, err
			}
			return ageHalf{id}, ageHalf{id}, nil
		}}
}

type ageHalf struct{ id *age.X25519Identity }

func (ageHalf) Overhead() int { return 4096 }

func (a ageHalf) Seal(dst, frame, _ []byte) ([]byte, error) {
	out := bytes.NewBuffer(dst)
	w, err := age.Encrypt(out, a.id.Recipient())
	if err != nil {
		return dst, err
	}
	if _, err := w.Write(frame); err != nil {
		return dst, err
	}
	err = w.Close()
	return out.Bytes(), err
}

func (a ageHalf) Open(dst, sealed, _ []byte) ([]byte, error) {
	r, err := age.Decrypt(bytes.NewReader(sealed), a.id)
	if err != nil {
		return dst, err
	}
	return readAll(dst, r)
}

func readAll(dst []byte, r io.Reader) ([]byte, error) {
	out := bytes.NewBuffer(dst)
	_, err := out.ReadFrom(r)
	return out.Bytes(), err
}
