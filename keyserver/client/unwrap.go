package client

import (
	"crypto/hpke"
	"encoding/binary"
	"errors"

	"github.com/chanseal/chanseal/keyserver/api"
)

const secretSize = 32

// Unwrap opens the secrets that were wrapped to a member's key, and puts them where they
// would stand in clear. The error does not say why they do not open.
func Unwrap(k *api.Keys, member string, key hpke.PrivateKey) error {
	wrong := errors.New("client: the wrapped keys do not open")
	if k.Wrapped == nil {
		return wrong
	}
	info := []byte("chanseal 1 keys")
	for _, s := range []string{k.Channel, member} {
		info = append(binary.BigEndian.AppendUint16(info, uint16(len(s))), s...)
	}
	var aad []byte
	var into []*api.Secret
	for i := range k.Epochs {
		e := &k.Epochs[i]
		if e.State == api.StateRetiring {
			continue
		}
		if len(e.Secret) > 0 {
			return wrong // wrapped and in clear at once
		}
		aad = binary.BigEndian.AppendUint64(aad, e.Epoch)
		aad = binary.BigEndian.AppendUint16(aad, e.SuiteID)
		into = append(into, &e.Secret)
	}
	r, err := hpke.NewRecipient(k.Wrapped.Enc, key, hpke.HKDFSHA256(), hpke.AES128GCM(), info)
	if err != nil {
		return wrong
	}
	secrets, err := r.Open(aad, k.Wrapped.Ciphertext)
	if err != nil || len(secrets) != secretSize*len(into) {
		clear(secrets)
		return wrong
	}
	for i, s := range into {
		*s = append(api.Secret(nil), secrets[i*secretSize:(i+1)*secretSize]...)
	}
	clear(secrets)
	k.Wrapped = nil
	return nil
}
