package program

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/chanseal/chanseal/cipher/ciphertest"
	"github.com/chanseal/chanseal/rtpseal"
)

// rtpVectors checks the descriptors of the RTP payload format.
var rtpVectors = ciphertest.Array{Name: "extra.rtp_descriptor", Run: runDescriptor}

func runDescriptor(entry []byte) error {
	var v struct {
		S, E, T *uint8
		Byte    *string
	}
	d := json.NewDecoder(bytes.NewReader(entry))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		return err
	}
	if v.S == nil || v.E == nil || v.T == nil || v.Byte == nil || *v.S|*v.E|*v.T > 1 {
		return fmt.Errorf("want S, E and T, each 0 or 1, and byte")
	}
	want, err := hex.DecodeString(*v.Byte)
	if err != nil || len(want) != 1 {
		return fmt.Errorf("byte is %q, want one byte in hex", *v.Byte)
	}
	var made rtpseal.Descriptor
	for _, f := range []struct {
		set  uint8
		flag rtpseal.Descriptor
	}{{*v.S, rtpseal.First}, {*v.E, rtpseal.Last}, {*v.T, rtpseal.PerPacket}} {
		if f.set == 1 {
			made |= f.flag
		}
	}
	got, rest, err := rtpseal.ParseDescriptor(append(want, 7))
	if err != nil || got != made || byte(made) != want[0] || len(rest) != 1 {
		return fmt.Errorf("descriptor is %02x, the vector says %02x", byte(made), want[0])
	}
	return nil
}
