package keyring

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"crypto/rand"

	"github.com/minio/sio"
)

// A sealed record, as the store holds it:
//
//	version (1 byte, 1) ‖ revision (BE64) ‖ salt (32 bytes) ‖ DARE 2.0 stream
//
// The stream (AES-256-GCM) holds a byte for the format of its kind, and the payload:
// it is never empty. Its key is
//
//	HKDF-SHA-256(root key, salt, "chanseal 1 record" ‖ str(kind) ‖ str(id) ‖ BE64(revision), 32 bytes)
//
// with id the record's key in the store, so that a record opens in its place
// and at its revision only. The revision is the record's own count of its
// versions, from 1.
const (
	recordVersion = 1
	recordSalt    = 32
	recordHead    = 1 + 8 + recordSalt
	payloadFormat = 1 // of kinds that have had one format only
)

// The kinds of records.
const kindChannel = "channel"

// formatOf is the newest format of a kind: the one that is written.
func formatOf(kind string) byte {
	if kind == kindChannel {
		return channelFormat
	}
	return payloadFormat
}

func recordKey(root secret, kind, id string, revision uint64, salt []byte) []byte {
	info := str(str([]byte("chanseal 1 record"), kind), id)
	info = binary.BigEndian.AppendUint64(info, revision)
	return root.derive(salt, string(info), 32)
}

// dare pins what sio would otherwise leave open: its defaults accept DARE 1.0,
// which does not notice a truncated stream.
func dare(key []byte) sio.Config {
	return sio.Config{
		MinVersion:   sio.Version20,
		MaxVersion:   sio.Version20,
		CipherSuites: []byte{sio.AES_256_GCM, sio.CHACHA20_POLY1305},
		Key:          key,
	}
}

// sealRecord seals payload; the first suite of dare is the one that is used.
func sealRecord(root secret, kind, id string, revision uint64, payload []byte) ([]byte, error) {
	var out bytes.Buffer
	out.WriteByte(recordVersion)
	out.Write(binary.BigEndian.AppendUint64(nil, revision))
	salt := make([]byte, recordSalt)
	rand.Read(salt)
	out.Write(salt)
	key := recordKey(root, kind, id, revision, salt)
	defer clear(key)
	plain := append([]byte{formatOf(kind)}, payload...)
	defer clear(plain)
	if _, err := sio.Encrypt(&out, bytes.NewReader(plain), dare(key)); err != nil {
		return nil, fmt.Errorf("keyring: seal the %s record: %w", kind, err)
	}
	if out.Len() > MaxValue {
		return nil, fmt.Errorf("keyring: seal the %s record: %d bytes: %w", kind, out.Len(), ErrTooLarge)
	}
	return out.Bytes(), nil
}

// openRecord opens what sealRecord made for the same kind and id. The caller
// wipes the payload.
func openRecord(root secret, kind, id string, sealed []byte) (payload []byte, revision uint64, err error) {
	payload, _, revision, err = openFormat(root, kind, id, sealed)
	return payload, revision, err
}

// openFormat is openRecord for kinds with several formats.
func openFormat(root secret, kind, id string, sealed []byte) (payload []byte, format byte, revision uint64, err error) {
	if len(sealed) > MaxValue || len(sealed) < recordHead {
		return nil, 0, 0, fmt.Errorf("keyring: %s record of %d bytes: %w", kind, len(sealed), ErrDamaged)
	}
	if sealed[0] != recordVersion {
		return nil, 0, 0, fmt.Errorf("keyring: %s record of version %d: %w", kind, sealed[0], ErrVersion)
	}
	revision = binary.BigEndian.Uint64(sealed[1:])
	key := recordKey(root, kind, id, revision, sealed[9:recordHead])
	defer clear(key)
	var plain bytes.Buffer
	plain.Grow(len(sealed)) // so that no copy is left behind by growing
	if _, err := sio.Decrypt(&plain, bytes.NewReader(sealed[recordHead:]), dare(key)); err != nil {
		clear(plain.Bytes())
		return nil, 0, 0, fmt.Errorf("keyring: %s record does not authenticate: %w", kind, ErrDamaged)
	}
	if plain.Len() == 0 || plain.Bytes()[0] == 0 || plain.Bytes()[0] > formatOf(kind) {
		clear(plain.Bytes())
		return nil, 0, 0, fmt.Errorf("keyring: %s record of an unknown inner format: %w", kind, ErrVersion)
	}
	return plain.Bytes()[1:], plain.Bytes()[0], revision, nil
}
