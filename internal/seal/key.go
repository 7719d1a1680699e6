package seal

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// keySize is the length of the master key and of everything derived from it.
const keySize = 32

// version is the first byte of every sealed value: AES-256-GCM with a random
// nonce of 96 bits in front, under a key derived for sealing alone.
const version = 1

const overhead = 1 + 12 + 16 // version, nonce, tag

// sealing is the purpose of the key that Seal and Open use. The master key
// itself encrypts nothing, so that no two uses of it can meet.
const sealing = "curfew seal v1"

const redacted = "[redacted]"

// ErrWrongKey is a sealed value that does not open: it was sealed with another
// master key or for another place, or it was altered. Cryptography cannot tell
// which.
var ErrWrongKey = errors.New("sealed value does not open: wrong master key, or the value was moved or altered")

// ErrMalformed is a value that was never sealed by this package, or by a newer
// version of it.
var ErrMalformed = errors.New("not a sealed value")

// Key is the master key. It prints as [redacted] in every format. The zero Key
// seals and opens nothing.
type Key struct {
	// In a closure, because fmt that reaches the Key through an unexported field
	// of another struct prints by reflection and asks no method. Of a function
	// it shows an address; a pointer it follows when the verb is a wrong one.
	reveal func() *[keySize]byte
}

func newKey(b *[keySize]byte) Key {
	return Key{func() *[keySize]byte { return b }}
}

// New returns a random key.
func New() Key {
	k := new([keySize]byte)
	rand.Read(k[:]) // never fails
	return newKey(k)
}

// Parse reads a key in the form of the key file: 32 bytes in base64, with or
// without a newline at the end. Its errors do not repeat the text.
func Parse(text string) (Key, error) {
	b, err := base64.StdEncoding.Strict().DecodeString(strings.TrimRight(text, "\r\n"))
	// The decoder skips line breaks anywhere; one key has one spelling here.
	if err != nil || strings.ContainsAny(strings.TrimRight(text, "\r\n"), "\r\n") {
		return Key{}, errors.New("master key is not base64; make one with: head -c 32 /dev/urandom | base64")
	}
	if len(b) != keySize {
		return Key{}, fmt.Errorf("master key has %d bytes instead of %d; make one with: head -c 32 /dev/urandom | base64", len(b), keySize)
	}
	if bytes.Count(b, b[:1]) == keySize {
		return Key{}, errors.New("master key is one byte repeated, which is a placeholder and not a key")
	}
	return newKey((*[keySize]byte)(b)), nil
}

// IsZero reports whether there is no key in k.
func (k Key) IsZero() bool { return k.reveal == nil }

// Seal encrypts plaintext so that only Open with the same context opens it. The
// context names the place of the value, such as "signing_key/" and its id:
// without it, somebody who can write to the store but not read the key could
// move a secret from one row into another and have it used there.
func (k Key) Seal(plaintext, context []byte) ([]byte, error) {
	if k.reveal == nil {
		return nil, errNoKey
	}
	out := make([]byte, 1, overhead+len(plaintext))
	out[0] = version
	return k.aead().Seal(out, nil, plaintext, additional(context)), nil
}

// Open decrypts what Seal has made with the same key and context.
func (k Key) Open(sealed, context []byte) ([]byte, error) {
	if k.reveal == nil {
		return nil, errNoKey
	}
	if len(sealed) < overhead {
		return nil, ErrMalformed
	}
	if sealed[0] != version {
		return nil, fmt.Errorf("%w: format %d is unknown here", ErrMalformed, sealed[0])
	}
	plain, err := k.aead().Open(nil, nil, sealed[1:], additional(context))
	if err != nil {
		return nil, ErrWrongKey
	}
	return plain, nil
}

// Derive returns a secret of 32 bytes for one purpose, always the same for the
// same key and purpose. Knowing it says nothing about the key or about the
// secrets of other purposes. It panics on the zero Key: a secret derived from
// nothing would be known to everybody.
func (k Key) Derive(purpose string) []byte {
	if k.reveal == nil {
		panic(errNoKey)
	}
	// The prefix keeps purposes chosen by callers away from sealing.
	return k.derive("curfew derive v1: " + purpose)
}

var errNoKey = errors.New("no master key")

func (k Key) derive(info string) []byte {
	out, err := hkdf.Key(sha256.New, k.reveal()[:], nil, info, keySize)
	if err != nil {
		panic(err) // only for lengths above 8160 bytes
	}
	return out
}

func (k Key) aead() cipher.AEAD {
	block, err := aes.NewCipher(k.derive(sealing))
	if err != nil {
		panic(err) // only for keys of another length
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err) // only for other block sizes
	}
	return aead
}

// additional is what is authenticated but not encrypted. The version is part of
// it, so that a value cannot be passed off as one of another format.
func additional(context []byte) []byte {
	return append([]byte{version}, context...)
}

// encode returns the content of a key file.
func (k Key) encode() []byte {
	return append(base64.StdEncoding.AppendEncode(nil, k.reveal()[:]), '\n')
}

// String returns a fixed text.
func (k Key) String() string { return redacted }

// GoString returns a fixed text.
func (k Key) GoString() string { return redacted }

// Format writes a fixed text for every verb, %d and %x included.
func (k Key) Format(s fmt.State, _ rune) { io.WriteString(s, redacted) }

// LogValue returns a fixed text.
func (k Key) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns a fixed text, for JSON and other encoders.
func (k Key) MarshalText() ([]byte, error) { return []byte(redacted), nil }
