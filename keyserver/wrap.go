package keyserver

import (
	"crypto/hpke"
	"encoding/binary"
	"fmt"

	"github.com/chanseal/chanseal/keyserver/api"
)

// recipient reads a member's public key.
func recipient(r *api.EnterRequest) (hpke.PublicKey, error) {
	if r.Kem == "" && len(r.PublicKey) == 0 {
		return nil, nil
	}
	var id uint16
	switch r.Kem {
	case api.KEMX25519:
		id = 0x0020
	case api.KEMP256:
		id = 0x0010
	case api.KEMMLKEM768X25519:
		id = 0x647a
	default:
		return nil, fmt.Errorf("keyserver: kem %q", r.Kem)
	}
	kem, err := hpke.NewKEM(id)
	if err != nil {
		return nil, err
	}
	return kem.NewPublicKey(r.PublicKey)
}

// wrapInfo binds what is wrapped to a channel and a membership.
func wrapInfo(channel, member string) []byte {
	b := []byte("chanseal 1 keys")
	for _, s := range []string{channel, member} {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
	}
	return b
}

// wrapAAD binds it to the numbers and suites of the epochs.
func wrapAAD(epochs []api.Epoch) (aad []byte) {
	for _, e := range epochs {
		if len(e.Secret) > 0 {
			aad = binary.BigEndian.AppendUint64(aad, e.Epoch)
			aad = binary.BigEndian.AppendUint16(aad, e.SuiteID)
		}
	}
	return aad
}

// wrap seals the secrets of the epochs to a member, and takes them out of k.
func wrap(to hpke.PublicKey, member string, k *api.Keys) (*api.Wrapped, error) {
	enc, sender, err := hpke.NewSender(to, hpke.HKDFSHA256(), hpke.AES128GCM(), wrapInfo(k.Channel, member))
	if err != nil {
		return nil, fmt.Errorf("keyserver: wrap: %w", err)
	}
	aad := wrapAAD(k.Epochs)
	secrets := make([]byte, 0, 32*len(k.Epochs))
	for i := range k.Epochs {
		secrets = append(secrets, k.Epochs[i].Secret...)
		k.Epochs[i].Secret = nil
	}
	defer clear(secrets)
	ciphertext, err := sender.Seal(aad, secrets)
	if err != nil {
		return nil, fmt.Errorf("keyserver: wrap: %w", err)
	}
	return &api.Wrapped{Enc: enc, Ciphertext: ciphertext}, nil
}
