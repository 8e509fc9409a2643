package rtpseal_test

import (
	"bytes"
	"fmt"
	"time"

	"github.com/chanseal/chanseal/cipher"
	"github.com/chanseal/chanseal/rtpseal"
)

// A camera seals video for a hub that gave it a key and its ID, as home cameras do.
func ExampleHomeKit() {
	profile := rtpseal.HomeKit()
	key, kid := bytes.Repeat([]byte{0x42}, 32), cipher.KeyID(0x100) // from the hub, and fresh: it never sealed before
	const audio, ssrc = false, 7

	sealer, err := profile.NewSealKeys(audio, kid, key, cipher.FreshKey)
	if err != nil {
		panic(err)
	}
	defer sealer.Close()
	packets, err := rtpseal.NewPacketizer(rtpseal.PacketizerOptions{SSRC: ssrc, PayloadType: 99, Sequence: 1})
	if err != nil {
		panic(err)
	}

	// The hub.
	keys, err := profile.NewKeys(audio)
	if err != nil {
		panic(err)
	}
	if err := keys.Add(kid, key); err != nil {
		panic(err)
	}
	hub, err := rtpseal.NewReceiver(rtpseal.ReceiverOptions{
		Opener: keys,
		Frame: func(u *rtpseal.Unit, frame []byte) {
			fmt.Printf("a frame of %d bytes in %d packets, marker %v\n", len(frame), u.Packets, u.Marker)
		},
		Refused: func(_ *rtpseal.Unit, err error) { fmt.Println(err) },
	})
	if err != nil {
		panic(err)
	}
	defer hub.Close()

	frame := make([]byte, 5000) // an access unit of H.264 or H.265
	sealed, err := sealer.SealStream(ssrc, nil, frame)
	if err != nil {
		panic(err)
	}
	fmt.Println(len(sealed)-len(frame), "bytes more")
	if err := packets.Packetize(sealed, 90000, true, profile.Kind, func(pkt []byte) error { return hub.Push(pkt, time.Now()) }); err != nil {
		panic(err)
	}
	// Output:
	// 13 bytes more
	// a frame of 5000 bytes in 5 packets, marker true
}
