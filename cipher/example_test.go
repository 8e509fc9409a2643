package cipher_test

import (
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/chanseal/chanseal/cipher"
)

// A sender and a receiver share a base key that was made for this one sender.
func Example() {
	suite := cipher.AES128CTRHMAC80() // AES128GCM where FIPS mode does not matter
	baseKey := make([]byte, suite.BaseKeySize())
	rand.Read(baseKey)

	sealKey, err := suite.NewSealKey(7, baseKey, cipher.FreshKey)
	if err != nil {
		fmt.Println(err)
		return
	}
	openKey, err := suite.NewOpenKey(7, baseKey)
	if err != nil {
		fmt.Println(err)
		return
	}

	sealed, err := sealKey.Seal(nil, []byte("a video frame"), []byte("track 1"))
	if err != nil {
		fmt.Println(err)
		return
	}
	header, size, _ := cipher.ParseHeader(sealed) // what everybody sees
	fmt.Printf("key %d, frame %d: %d bytes of header, %d in all\n", header.KID, header.CTR, size, len(sealed))

	frame, err := openKey.Open(nil, sealed, []byte("track 1"))
	fmt.Printf("%s, %v\n", frame, err)
	_, err = openKey.Open(nil, sealed, []byte("track 1"))
	fmt.Println("again:", errors.Is(err, cipher.ErrReplayed))
	// Output:
	// key 7, frame 0: 1 bytes of header, 24 in all
	// a video frame, <nil>
	// again: true
}

// Sealing in place needs room for the header before the frame and for the tag behind.
func ExampleSealKey_SealInPlace() {
	suite := cipher.AES128CTRHMAC80()
	key, err := suite.NewSealKey(7, make([]byte, 32), cipher.FreshKey) // a real base key is random
	if err != nil {
		fmt.Println(err)
		return
	}
	frame := []byte("a video frame")
	buf := make([]byte, cipher.MaxHeader+len(frame)+suite.Overhead())
	copy(buf[cipher.MaxHeader:], frame)
	sealed, err := key.SealInPlace(buf, cipher.MaxHeader, len(frame), nil)
	fmt.Println(len(sealed), err)
	// Output: 24 <nil>
}
